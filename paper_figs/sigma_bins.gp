# Loss above, residual norm below, one line for each eighth of ln(sigma): dark is little noise, light is much, marks tell neighbours
# apart. A dot is a tick.
eval page(1100, 900)
set output out
set multiplot title title noenhanced font ",13"
set label 1 note at screen 0.012, 0.012 font ",8" textcolor rgb '#555555' noenhanced
set lmargin at screen 0.085
set rmargin at screen 0.79
eval count_axis
set xrange [0:*] noextend
set yrange [*:*] noextend
set offsets graph 0, graph 0.02, graph 0.05, graph 0.05
set logscale y
set format y "%g"
set datafile missing # NaN is then a gap
set key at screen 0.805, 0.92 left top Left reverse samplen 3 noenhanced title "σ of the student" left
colours = "#440154 #472978 #3d4d89 #2f6c8e #24898d #22a585 #46c06f #87d448"
marks = "7 6 5 4 9 8 13 12"
mark_every = 12

set tmargin at screen 0.93
set bmargin at screen 0.53
set ylabel "loss"
losses = blocks('loss ')
plot for [i=words(losses):1:-1] data index place('loss ', i) using 1:2 with linespoints lc rgb word(colours, i) lw 1.6 dt 1 \
    pt int(word(marks, i)) ps 0.9 pi mark_every title word(losses, i), \
    for [i=1:words(losses)] data index place('loss ', i) using 1:2 with points lc rgb word(colours, i) pt 7 ps 0.25 notitle
unset label 1

set tmargin at screen 0.475
set bmargin at screen 0.09
set xlabel "images seen"
set ylabel "residual ‖f(student) − f(teacher)‖"
set key off
plot for [i=words(losses):1:-1] data index place('residual ', i) using 1:2 with linespoints lc rgb word(colours, i) lw 1.6 dt 1 \
    pt int(word(marks, i)) ps 0.9 pi mark_every notitle, \
    for [i=1:words(losses)] data index place('residual ', i) using 1:2 with points lc rgb word(colours, i) pt 7 ps 0.25 notitle
unset multiplot
