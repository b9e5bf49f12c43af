# Loss and N above, quality below, over images seen.
set multiplot layout 2,1 title title font ",13"
set lmargin 11
set rmargin 32
set format x "%.0s%c"
set xlabel "images seen"
set xrange [0:*]

set logscale y
set ylabel "loss"
set y2label "N (discretisation steps)"
set y2tics
set logscale y2
plot data index 'loss' using 1:2 with lines lt 1 title 'loss', \
     data index 'N' using 1:2 axes x1y2 with steps lt 5 title 'N (right axis)'

unset y2tics
unset y2label
set ylabel "Fréchet distance, random features"
has(name) = int(system(sprintf("grep -c '^# %s$' '%s' || true", name, data)))
plot for [nfe=1:4] (has(sprintf('fd-random nfe %d', nfe)) ? data : '/dev/null') \
         index (has(sprintf('fd-random nfe %d', nfe)) ? sprintf('fd-random nfe %d', nfe) : '') \
         using 1:2 with linespoints lt nfe title (has(sprintf('fd-random nfe %d', nfe)) ? sprintf('%d step%s', nfe, nfe > 1 ? 's' : '') : ''), \
     data index 'fd-random-pixels' using 1:2 with lines lt 6 title 'independent pixels', \
     data index 'fd-random-mean-noise' using 1:2 with lines lt 4 title 'mean image + noise', \
     data index 'fd-random-floor' using 1:2 with lines lt 5 title 'real half against half'
unset multiplot
