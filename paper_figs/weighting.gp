# lambda above, its share by ln(sigma) below, one line for each N.
set multiplot layout 2,1 title title noenhanced font ",13"
set lmargin 11
set rmargin 30
set xlabel "σ"
set logscale x
set format x "%g"
set xrange [0.002:80]
set ylabel "weight λ"
set logscale y
set format y "10^{%L}"
plot for [N in '11 41 161 1281'] data index block('N = '.N) using 1:2 with lines lw 2 title 'N = '.N
unset logscale y
set format y "%g"
set yrange [0:*]
set ylabel "share of E[λ] per unit of ln σ"
plot for [N in '11 41 161 1281'] data index block('N = '.N) using 1:3 with lines lw 2 title 'N = '.N
unset multiplot
