# Density of ln(sigma), one line a law.
set lmargin 11
set rmargin 30
set title title noenhanced font ",13"
set xlabel "σ"
set ylabel "density of ln σ"
set logscale x
set format x "%g"
set xrange [0.002:80]
set yrange [0:*]
plot data index block('uniform (CT)') using 1:2 with lines lt 2 lw 2.5 title 'uniform (CT)', \
     data index block('lognormal (iCT)') using 1:2 with lines lt 1 lw 2.5 title 'lognormal (iCT)'
