# Loss, gradient norm, N and learning rate over images seen, one line an arm, a band for its seeds.
lacks = blocks('lack: ')
width = 1300.0 + wider(blocks('loss: ').' '.lacks)
eval page(width, 900)
set output out
set multiplot title title noenhanced font ",13"
set label 1 note at screen 0.012, 0.012 font ",8" textcolor rgb '#555555' noenhanced
eval count_axis
set format y "%g"
set xrange [0:*] noextend
set style fill transparent solid 0.15 noborder
set xlabel "images seen"
cell(column, row) = sprintf("set lmargin at screen %g; set rmargin at screen %g; set bmargin at screen %g; set tmargin at screen %g", \
                            (91 + 500 * column) / width, (481 + 500 * column) / width, 0.545 - 0.455 * row, 0.545 - 0.455 * row + 0.385)
around = "set yrange [*:*] noextend; set offsets graph 0, graph 0.03, graph 0.06, graph 0.06"
mark_every = 10 # a point here and there tells lines apart in grey print
panels = "loss gradient_norm N learning_rate"
what = "'loss (mean over the tick)' 'gradient norm (l2, all parameters)' 'N (noise levels)' 'learning rate'"
set key at screen 1007 / width, 0.93 left top Left reverse samplen 3 font ",9" noenhanced

do for [panel=1:4] {
    name = word(panels, panel).': '
    drawn = blocks(name)
    if (words(drawn) > 0) {
        eval cell((panel - 1) % 2, (panel - 1) / 2)
        set ylabel word(what, panel)
        set yrange [*:*] noextend
        set offsets graph 0, graph 0.03, graph 0.06, graph 0.06
        if (panel < 4) { eval log_axis(sprintf('index %d:%d', place(name, 1), place(name, words(drawn))), 2) }
        else { unset logscale y; set ytics autofreq; set yrange [0:*] }
        plot for [i=1:words(drawn)] data index place(name, i) using 1:3:4 with filledcurves lt i notitle, \
             for [i=1:words(drawn)] data index place(name, i) using 1:2 with linespoints lt i pi mark_every title (panel == 1 ? word(drawn, i) : ''), \
             for [i=1:(panel == 1 ? words(lacks) : 0)] keyentry with points pt 0 title word(lacks, i)
        unset label 1
    }
}
unset multiplot
