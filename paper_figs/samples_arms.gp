# The first row of every block of every run's picture, arm below arm. Lengths are pixels of the pictures.
files = blocks('picture: ')
arms = blocks('arm: ')
lacks = blocks('lack: ')
count = words(files)
field(i, k) = int(system(sprintf("awk -F'\\t' -v n=%d 'NR == 1 || empty >= 2 { number++ } { empty = $0 == \"\" ? empty + 1 : 0 } number == n + 1 && !/^#/ && NF > 1 { print $%d; exit }' '%s'", \
                                 place('picture: ', i), k, data)))
columns = field(1, 1)
cell = field(1, 2)
blocks_drawn = field(1, 4)
wide = blocks_drawn * (columns * (cell + 1) + 12)
high = cell + 4
longest = 12
do for [i=1:count] { longest = strlen(word(arms, i)) > longest ? strlen(word(arms, i)) : longest }
do for [i=1:words(lacks)] { longest = strlen(word(lacks, i)) > longest ? strlen(word(lacks, i)) : longest }
left = 20 + 7.6 * longest
lines = count + 1 + 0.35 * words(lacks)
tall = lines * high
eval page(left + wide + 20, tall + 120)
set output out
set title title noenhanced font ",13" offset 0, 0.9
set label 1 note at screen 0.012, screen 12.0 / (tall + 120) font ",8" textcolor rgb '#555555' noenhanced
set lmargin at screen left / (left + wide + 20)
set rmargin at screen (left + wide) / (left + wide + 20)
set tmargin at screen 1 - 75.0 / (tall + 120)
set bmargin at screen 45.0 / (tall + 120)
unset border
unset grid
unset xtics
set key off
set xrange [0:wide] noextend
set yrange [-tall:0] noextend
set ytics scale 0 noenhanced (-10 * tall)
do for [i=1:count] { set ytics add (word(arms, i) -i * high + high / 2.0) }
set ytics add ("real images" -(count + 1) * high + high / 2.0)
do for [i=1:words(lacks)] { set ytics add (word(lacks, i) -(count + 1) * high - (i - 0.4) * 0.35 * high) }
do for [b=1:blocks_drawn] {
    set label (1 + b) (b == 1 ? 'one step' : b == 2 ? 'two steps' : sprintf('choice %d of steps', b)) \
        at (b - 1) * (columns * (cell + 1) + 12), 12 left
}
# Picture i's block b (from 0): where it begins, and how far its top row lies above its foot.
from(i, b) = b * (field(i, 1) + 1) * (field(i, 2) + 1)
foot(i) = (field(i, 3) - 1) * (field(i, 2) + 1)
upto(i, b) = from(i, b) + field(i, 1) * (field(i, 2) + 1) - 2
plot for [i=1:count] for [b=0:blocks_drawn - 1] word(files, i) binary filetype=png \
         origin=(b * (columns * (cell + 1) + 12) - from(i, b), -i * high - foot(i) + 2) every 1:1:from(i, b):0:upto(i, b):field(i, 2) - 1 with rgbimage, \
     word(files, 1) binary filetype=png origin=(-from(1, blocks_drawn), -(count + 1) * high - foot(1) + 2) \
         every 1:1:from(1, blocks_drawn):0:upto(1, blocks_drawn):cell - 1 with rgbimage
