# Bars: above, training and sampling by program, the fastest on top, with how many times this program's rate is theirs; below,
# microseconds an image by kind of op, forward and backward.
programs = blocks('program: ')
ops = blocks('op: ')
count = words(programs)
kinds = words(ops)
height = 190.0 + 34 * count + 22 * kinds
eval page(1100, height)
set output out
set multiplot title title noenhanced font ",13"
set label 1 note at screen 0.012, screen 12 / height font ",8" textcolor rgb '#555555' noenhanced
longest_name = longest(programs, 1)
left = 0.03 + 0.0068 * longest_name; left = left > 0.45 ? 0.45 : left
middle = left + (0.98 - left) / 2
set border 1
unset grid
set grid xtics lt 1 lc rgb '#e4e4e4' lw 1 dt 1
set style fill solid 1 noborder
set key off
wide = 0.36
colour(name) = strstrt(name, 'this program') == 1 ? '#0072b2' : '#b9c7d6'
most(column) = system(sprintf("awk -F'\\t' '/^# [a-z]*: / { on = /^# program: / } on && $%d ~ /^[0-9]/ && $%d + 0 > most { most = $%d } END { print most + 0 }' '%s'", column, column, column, data)) + 0
panels = most(2) > 0 ? 2 : 1

set tmargin at screen 1 - 46.0 / height
set bmargin at screen 1 - (56.0 + 34 * count) / height
set yrange [-count - 0.6:-0.4]
do for [what=1:panels] {
    set lmargin at screen (what == 1 ? left : middle + 0.02)
    set rmargin at screen (what == 1 && panels == 2 ? middle - 0.02 : 0.965)
    set ytics scale 0 noenhanced (-100 -1000)
    if (what == 1) { do for [i=1:count] { set ytics add (word(programs, i) -i) } }
    decade = 10 ** floor(log10(most(what)))
    set xtics most(what) < 2 * decade ? decade / 2 : most(what) < 5 * decade ? decade : 2 * decade # five digits need room
    set xlabel (what == 1 ? "training, images/s (this program: × as many)" : "sampling in one step, images/s")
    set xrange [0:*]
    set offsets 0, graph 0.22, 0, 0
    times(x, theirs) = theirs > 0 ? sprintf("%.0f (× %.2f)", x, theirs) : sprintf("%.0f", x)
    plot for [i=1:count] data index place('program: ', i) using (column(what)):(-i):(0):(column(what)):(-i - wide):(-i + wide) \
             with boxxyerror lc rgb colour(word(programs, i)), \
         for [i=1:count] data index place('program: ', i) using (column(what)):(-i):(times(column(what), column(what + 2))) with labels left offset 0.6, 0 font ",9"
    unset label 1
}

if (kinds > 0) {
    set tmargin at screen (70.0 + 22 * kinds) / height
    set bmargin at screen 70.0 / height
    set lmargin at screen left
    set rmargin at screen 0.965
    set xtics autofreq
    set xrange [0:*] noextend
    set yrange [-kinds - 0.6:-0.4]
    set ytics scale 0 noenhanced (-100 -1000)
    do for [i=1:kinds] { set ytics add (word(ops, i) -i) }
    set xlabel "microseconds an image: forward (dark), backward (light)"
    plot for [i=1:kinds] data index place('op: ', i) using 1:(-i):(0):1:(-i - wide):(-i + wide) with boxxyerror lc rgb '#0072b2', \
         for [i=1:kinds] data index place('op: ', i) using ($1 + $2):(-i):1:($1 + $2):(-i - wide):(-i + wide) with boxxyerror lc rgb '#e69f00'
}
unset multiplot
