# One row an arm, in it a line of marks for each of three networks: the mean filled, every seed open. One panel for each number of steps.
stats data using ($3 > 0 ? $3 : NaN) nooutput
far = STATS_max > 8 * STATS_min
room = 0.06 * (STATS_max - STATS_min) + 1e-3
arms = blocks('arm: ')
count = words(arms)
height = 205 + 52 * (count < 2 ? 2 : count)
eval page(1100, height)
set output out
set multiplot title title noenhanced font ",13"
set label 1 note at screen 0.012, screen 0.025 font ",8" textcolor rgb '#555555' noenhanced
longest = 8
do for [i=1:count] { longest = strlen(word(arms, i)) > longest ? strlen(word(arms, i)) : longest }
left = 0.03 + 0.0072 * longest; left = left > 0.5 ? 0.5 : left
middle = left + (0.98 - left) / 2
set tmargin at screen 1 - 58.0 / height
set bmargin at screen 122.0 / height
set yrange [-count - 0.6:-0.4]
set border 1
unset grid
set grid xtics lt 1 lc rgb '#e4e4e4' lw 1 dt 1
set arrow 1 from 1, graph 0 to 1, graph 1 nohead lc rgb '#000000' lw 1 dt (2, 3)
set key off
array judges[3] = ['judge (fd-classifier)', 'loss network (fd-classifier-loss)', 'random features (fd-random)']
array marks[3] = [7, 5, 9]
if (far) { set logscale x; set xrange [STATS_min / 1.3:STATS_max * 1.3] } else { set xrange [STATS_min - room:STATS_max + room] }
set xtics autofreq
do for [j=1:3] { set label 1 + j judges[j] at screen left + 0.02 + 0.27 * (j - 1), screen 50.0 / height left offset 1, 0 noenhanced point ls j pt marks[j] ps 1.3 }

do for [nfe=1:2] {
    set lmargin at screen (nfe == 1 ? left : middle + 0.015)
    set rmargin at screen (nfe == 1 ? middle - 0.015 : 0.98)
    set ytics scale 0 noenhanced (-100 -1000)
    if (nfe == 1) { do for [i=1:count] { set ytics add (word(arms, i) -i) } }
    if (nfe == 2) { unset label }
    set xlabel sprintf("distance relative to arms that know neither, %d %s", nfe, nfe == 1 ? 'step' : 'steps') noenhanced
    plot for [i=1:count] for [j=1:3] data index place('arm: ', i) using ($1 == nfe && $2 == j ? $3 : NaN):(-i - 0.24 * (j - 2)) \
             with points ls j pt marks[j] - 1 ps 0.9 lw 1.2, \
         for [i=1:count] for [j=1:3] data index place('arm: ', i) using ($1 == nfe && $2 == j ? $4 : NaN):(-i - 0.24 * (j - 2)) \
             with points ls j pt marks[j] ps 1.3
}
unset multiplot
