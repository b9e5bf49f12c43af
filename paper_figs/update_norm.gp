# Mean above, variance below, one line an arm, a band for its seeds, over images seen.
arms = blocks('mean: ')
lacks = blocks('lack: ')
width = 1100.0 + wider(arms.' '.lacks)
eval page(width, 900)
set output out
set multiplot title title noenhanced font ",13"
set label 1 note at screen 0.012, 0.012 font ",8" textcolor rgb '#555555' noenhanced
set lmargin at screen 104 / width
set rmargin at screen 792 / width
eval count_axis
set xrange [0:*] noextend
set yrange [*:*] noextend
set offsets graph 0, graph 0.02, graph 0.05, graph 0.05
set style fill transparent solid 0.15 noborder
set key at screen 808 / width, 0.92 left top Left reverse samplen 3 noenhanced
set format y "%g"
mark_every = 10

set tmargin at screen 0.93
set bmargin at screen 0.53
set ylabel "mean of the update's norm"
eval log_axis(sprintf("index %d:%d", place('mean: ', 1), place('mean: ', words(arms))), 2)
plot for [i=1:words(arms)] data index place('mean: ', i) using 1:3:4 with filledcurves lt i notitle, \
     for [i=1:words(arms)] data index place('mean: ', i) using 1:2 with linespoints lt i pi mark_every title word(arms, i), \
     for [i=1:words(lacks)] keyentry with points pt 0 title word(lacks, i)
unset label 1

set tmargin at screen 0.475
set bmargin at screen 0.09
set xlabel "images seen"
set ylabel "variance of the update's norm"
eval log_axis(sprintf("index %d:%d", place('variance: ', 1), place('variance: ', words(arms))), 2)
set key off
plot for [i=1:words(arms)] data index place('variance: ', i) using 1:3:4 with filledcurves lt i notitle, \
     for [i=1:words(arms)] data index place('variance: ', i) using 1:2 with linespoints lt i pi mark_every notitle
unset multiplot
