# Gradient, loss and descent over N.
eval page(1100, 900)
set output out
set multiplot layout 3,1 title title noenhanced font ",13"
set lmargin 13
set rmargin 30
set logscale x
set format x "%g"
set xlabel "N"
lags = "'no lag' 'teacher below' 'teacher above'"
set ylabel "gradient / Δσ"
set xrange [2:10000]
set yrange [-60:60]
plot for [i=1:3] data index block('gradient, '.word(lags, i)) using 1:2 with lines lt i lw 2 title word(lags, i), \
     data index block('gradient, no lag') using 1:3 with lines lt 5 title 'limit without lag'
set ylabel "loss"
set yrange [*:*]
set logscale y
set format y "10^{%L}"
plot for [i=1:3] data index block('loss, '.word(lags, i)) using 1:2 with lines lt i lw 2 title word(lags, i), \
     data index block('loss, teacher below') using 1:3 with lines lt 5 title 'limit with lag'
unset logscale y
set format y "%g"
set yrange [0:0.75]
set xrange [10:700]
set ylabel "θ after descent"
plot for [mu in '0.0 0.9 0.99 0.999'] data index block('descent, mu = '.mu) using 1:2 with linespoints lw 2 title 'teacher EMA μ = '.mu, \
     data index block('descent, mu = 0.0') using 1:3 with lines lt 5 title 'ξ, the data'
unset multiplot
