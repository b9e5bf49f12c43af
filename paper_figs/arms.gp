# One line an arm, a band for its seeds, over images seen.
arms = blocks('arm: ')
lacks = blocks('lack: ')
width = 1100.0 + wider(arms.' '.lacks)
eval page(width, 760)
set output out
set title title noenhanced font ",13"
set label 1 note at screen 0.012, 0.015 font ",8" textcolor rgb '#555555' noenhanced
set lmargin 11
set rmargin at screen 800 / width
set bmargin 5.5
set key at screen 812 / width, screen 0.93 left top Left reverse samplen 3 noenhanced
set xlabel "images seen"
set ylabel sprintf("%s, one step (mean and range over seeds)", word(blocks('metric: '), 1)) noenhanced
eval count_axis
set xrange [0:*] noextend
set yrange [*:*] noextend
set offsets graph 0, graph 0.03, graph 0.08, graph 0.08
set style fill transparent solid 0.15 noborder
eval log_axis('', 2)
plot for [i=1:words(arms)] data index place('arm: ', i) using 1:3:4 with filledcurves lt i notitle, \
     for [i=1:words(arms)] data index place('arm: ', i) using 1:2 with linespoints lt i title word(arms, i), \
     for [i=1:words(lacks)] keyentry with points pt 0 title word(lacks, i)
