# Six panels over images seen: loss, gradient norm, N (of a classifier its accuracy), learning rate, speed, quality.
eval page(1100, 1000)
set output out
set multiplot title title noenhanced font ",13"
set label 1 note at screen 0.012, 0.012 font ",8" textcolor rgb '#555555' noenhanced
eval count_axis
set xrange [0:*] noextend
set yrange [*:*] noextend
left(column) = 0.085 + 0.5 * column
bottom(row) = 0.705 - 0.275 * row
cell(column, row) = sprintf("set lmargin at screen %g; set rmargin at screen %g; set bmargin at screen %g; set tmargin at screen %g", \
                            left(column), left(column) + 0.39, bottom(row), bottom(row) + 0.225)
around = "set offsets graph 0, graph 0.02, graph 0.08, graph 0.08"
above = "set offsets graph 0, graph 0.02, graph 0.08, graph 0"

eval around
eval cell(0, 0)
set ylabel "loss"
eval log_axis('index '.block('loss'), 2)
plot data index block('loss') using 1:2 with lines lt 1 notitle
unset label 1

eval cell(1, 0)
set ylabel "gradient norm (l2)"
eval log_axis('index '.block('gradient_norm'), 2)
plot data index block('gradient_norm') using 1:2 with lines lt 1 notitle

eval cell(0, 1)
if (words(blocks('N')) > 0) {
    set ylabel "N (noise levels)"
    eval log_axis('index '.block('N'), 2)
    plot data index block('N') using 1:2 with steps lt 1 dt 1 notitle
} else {
    set ylabel "accuracy"
    unset logscale y
    set ytics autofreq
    set key at graph 0.98, graph 0.25 right top
    plot data index block('accuracy') using 1:2 with lines lt 1 title 'in training', \
         data index block('held out') using 1:2 with linespoints lt 2 title 'held out'
}

eval above
unset logscale y
set ytics autofreq
set yrange [0:*]
eval cell(1, 1)
set ylabel "learning rate"
set format y "%g"
plot data index block('learning_rate') using 1:2 with lines lt 1 notitle

eval cell(0, 2)
set xlabel "images seen"
set ylabel "speed (images/s)"
if (words(blocks('images_per_second')) > 0) { plot data index block('images_per_second') using 1:2 with lines lt 1 notitle }

# A run may have no evaluation yet, and a recorded one no speed: that panel stays away.
qualities = blocks('quality ')
references = blocks('reference ')
if (words(qualities) > 0) {
    eval cell(1, 2)
    eval around
    set ylabel "quality (Fréchet distance)"
    set yrange [*:*]
    set logscale y
    set key at screen 0.585, 0.082 left top Left reverse horizontal samplen 4 font ",9" maxrows 3 noenhanced
    plot for [i=1:words(qualities)] data index place('quality ', i) using 1:2 with linespoints lt i title word(qualities, i), \
         for [i=1:words(references)] data index place('reference ', i) using 1:2 with lines lt 4 + i title word(references, i)
}
unset multiplot
