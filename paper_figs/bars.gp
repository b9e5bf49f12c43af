# One row an arm: bar to the mean, whisker of one standard deviation, a point for each seed. One panel for each number of steps.
# Bars need zero. Where one arm is far from the rest, a logarithmic axis and no bars.
stats data using ($1 > 0 ? $2 : NaN) nooutput
far = STATS_max > 25 * STATS_min
arms = blocks('arm: ')
count = words(arms)
eval page(1100, 165 + 34 * (count < 3 ? 3 : count))
set output out
set multiplot title title noenhanced font ",13"
floors = blocks('floor')
set label 1 note.(words(floors) ? '; dotted line: real images against real ones' : '') at screen 0.012, screen 0.025 font ",8" textcolor rgb '#555555' noenhanced
longest = 8
do for [i=1:count] { longest = strlen(word(arms, i)) > longest ? strlen(word(arms, i)) : longest }
left = 0.03 + 0.0072 * longest; left = left > 0.5 ? 0.5 : left
middle = left + (0.98 - left) / 2
set tmargin at screen 1 - 58.0 / (165 + 34 * (count < 3 ? 3 : count))
set bmargin at screen 86.0 / (165 + 34 * (count < 3 ? 3 : count))
set yrange [-count - 0.6:-0.4]
set border 1
unset grid
set grid xtics lt 1 lc rgb '#e4e4e4' lw 1 dt 1
set style fill solid 1 noborder
set key off
metric = word(blocks('metric: '), 1)
wide = 0.36

do for [nfe=1:2] {
    set lmargin at screen (nfe == 1 ? left : middle + 0.015)
    set rmargin at screen (nfe == 1 ? middle - 0.015 : 0.98)
    set ytics scale 0 noenhanced (-100 -1000)
    if (nfe == 1) { do for [i=1:count] { set ytics add (word(arms, i) -i) } }
    set xlabel sprintf("%s, %d %s (mean ± s.d., seeds)", metric, nfe, nfe == 1 ? 'step' : 'steps') noenhanced
    if (far) { set logscale x; set autoscale x; set offsets graph 0.05, graph 0.05, 0, 0 } else { set xrange [0:*]; set offsets 0, graph 0.05, 0, 0 }
    if (nfe == 2) { unset label 1 }
    plot for [i=1:count] data index place('arm: ', i) using (far || $1 != nfe ? NaN : $3):(-i):(0):3:(-i - wide):(-i + wide) \
             with boxxyerror lc rgb '#b9c7d6', \
         for [i=1:count] data index place('arm: ', i) using ($1 == nfe ? $3 : NaN):(-i):($4 > 0 ? $4 : NaN) with xerrorbars lc rgb '#000000' lw 1.5 dt 1 pt 0, \
         for [i=1:count] data index place('arm: ', i) using ($1 == nfe ? $3 : NaN):(-i) with points lc rgb '#000000' pt 5 ps 0.5, \
         for [i=1:count] data index place('arm: ', i) using ($1 == nfe ? $2 : NaN):(-i) with points lc rgb '#0072b2' pt 6 ps 0.9 lw 1.5, \
         for [i=1:words(floors)] data index block('floor') using 2:(-0.4):(0):(-count - 0.2) with vectors nohead lc rgb '#000000' lw 1 dt (2, 3)
}
unset multiplot
