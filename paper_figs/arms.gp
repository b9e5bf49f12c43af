# One line an arm with the spread of its seeds, over images seen.
set title title font ",13"
set lmargin 11
set rmargin 38
set bmargin 4
set xlabel "images seen"
set ylabel "Fréchet distance, random features, one step (mean and range over seeds)"
set format x "%.0s%c"
set xrange [0:*]
set logscale y
names = system(sprintf("grep '^# ' '%s' | grep -v '^# images' | sed 's/^# //; s/ /_/g' | tr '\\n' ' '", data))
count = words(names)
label(i) = system(sprintf("echo '%s' | tr '_' ' '", word(names, i)))
plot for [i=1:count] data index i-1 using 1:2:3:4 with yerrorlines lt i title label(i)
