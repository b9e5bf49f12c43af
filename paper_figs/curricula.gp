# N over the share of training done, one line a curriculum.
set lmargin 11
set rmargin 30
set title title noenhanced font ",13"
set xlabel "share of training done"
set ylabel "N (noise levels)"
set xrange [0:1]
set logscale y
set yrange [8:2000]
names = "constant 'square root (CT)' linear square cosine 'exponential (iCT)'"
line(i) = i == 6 ? 1 : i == 1 ? 6 : i   # iCT's own shape in the foremost style
# Lines, not steps, in whose corners the dashes would be lost.
plot for [i=1:6] data index block(word(names, i)) using 1:2 with lines lt line(i) lw 2.5 title word(names, i)
