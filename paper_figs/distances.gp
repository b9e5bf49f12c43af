# Distances above, their slopes below.
set multiplot layout 2,1 title title noenhanced font ",13"
set lmargin 11
set rmargin 30
set xrange [-1.5:1.5]
set xlabel "residual r"
names = "'squared l2' l1 'Huber, c = 0.03' 'Huber, c = 0.3' 'Huber, c = 1'"
set ylabel "distance d(r)"
plot for [i=1:5] data index block(word(names, i)) using 1:2 with lines lt i lw 2 title word(names, i)
set ylabel "slope d'(r)"
plot for [i=1:5] data index block(word(names, i)) using 1:3 with lines lt i lw 2 title word(names, i)
unset multiplot
