# Distance of neighbouring embeddings over sigma, one line an embedding.
set lmargin 11
set rmargin 30
set title title noenhanced font ",13"
set logscale xy
set format x "%g"
set format y "10^{%L}"
set xrange [0.002:80]
set yrange [*:2]
set xlabel "σ"
set ylabel "relative distance of neighbouring embeddings"
names = "'Fourier 16 (CT)' 'Fourier 0.02 (iCT)' positional"
plot for [i=1:3] data index block(word(names, i)) using 1:2 with lines lt i lw 2.5 title word(names, i)
