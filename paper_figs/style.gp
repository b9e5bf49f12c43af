# What every figure shares: terminals by format, fonts, lines that stay apart in grey print and for colour-blind readers
# (Okabe and Ito's palette, different dashes and marks), legends outside the data.
font = "DejaVu Sans,11"
if (format eq 'png') { set terminal pngcairo size 1100,760 font font }
if (format eq 'svg') { set terminal svg size 1100,760 font font }
if (format eq 'pdf') { set terminal pdfcairo size 8,5.53 font "DejaVu Sans,9" }
set output out
set encoding utf8
set datafile separator "\t"
set datafile missing "NaN"
set linetype 1 lc rgb '#0072b2' lw 2 dt 1 pt 7
set linetype 2 lc rgb '#d55e00' lw 2 dt (8,3) pt 5
set linetype 3 lc rgb '#009e73' lw 2 dt (2,2) pt 9
set linetype 4 lc rgb '#cc79a7' lw 2 dt (8,3,2,3) pt 13
set linetype 5 lc rgb '#000000' lw 1.5 dt (4,4) pt 2
set linetype 6 lc rgb '#777777' lw 1.5 dt (1,3) pt 1
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd' lw 1
set key outside right top
