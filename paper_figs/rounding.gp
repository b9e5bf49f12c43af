# The share of the residual that is rounding, by N, with the bound that a recommended precision keeps at the most levels of the paper;
# and the gradient's direction.
eval page(1100, 520)
set output out
set multiplot title title noenhanced font ",13"
set label 1 note at screen 0.012, 0.02 font ",8" textcolor rgb '#555555' noenhanced
names = blocks('precision: ')
bound = 0.15
bound_at(N) = N > 641 ? bound : NaN
set logscale x 2
set xtics (11, 21, 41, 81, 161, 321, 641, 1281)
set xlabel "noise levels N"
set offsets graph 0.03, graph 0.05, graph 0.06, graph 0.06
set tmargin at screen 0.88
set bmargin at screen 0.18

set lmargin at screen 0.08
set rmargin at screen 0.46
set logscale y
set format y "%g"
set yrange [*:*] noextend
set ylabel "rounding / residual"
set key off
set label 2 sprintf("dotted: recommended is at most %g at N = 1281", bound) at graph 0.02, 0.97 font ",9"
plot for [i=1:words(names)] data index place('precision: ', i) using 1:2 with linespoints lt i ps 1.1, \
     for [i=1:words(names)] data index place('precision: ', i) using 1:3 with lines lt i lw 0.8, \
     bound_at(x) with lines lc rgb '#000000' lw 2 dt (2, 3)
unset label 1
unset label 2

unset logscale y
set format y "%.4g"
set lmargin at screen 0.56
set rmargin at screen 0.88
set yrange [*:1]
set ylabel "cosine of the gradient with fp32's"
set key at screen 0.9, 0.86 left top Left reverse samplen 3 noenhanced
plot for [i=1:words(names)] data index place('precision: ', i) using 1:4 with linespoints lt i ps 1.1 title word(names, i)
unset multiplot
