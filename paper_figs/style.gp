# What every figure shares: terminals by format, fonts, lines that stay apart in grey print and for colour-blind readers
# (Okabe and Ito's palette without its yellow, different dashes and marks), legends outside the data.
#
# page(width, height) is the command for another size: eval page(1100, 1050), then `set output out` again.
page(width, height) = format eq 'pdf' ? \
    sprintf("set terminal pdfcairo size %g,%g font 'DejaVu Sans,9'", width / 137.5, height / 137.5) : \
    sprintf("set terminal %s size %d,%d font 'DejaVu Sans,11'", format eq 'png' ? 'pngcairo' : 'svg', width, height)
eval page(1100, 760)
set output out
set encoding utf8
set datafile separator "\t"
set datafile missing "NaN"
set linetype 1 lc rgb '#0072b2' lw 2 dt 1 pt 7
set linetype 2 lc rgb '#d55e00' lw 2 dt (8,3) pt 5
set linetype 3 lc rgb '#009e73' lw 2.5 dt (3,2) pt 9
set linetype 4 lc rgb '#cc79a7' lw 2 dt (8,3,2,3) pt 13
set linetype 5 lc rgb '#000000' lw 1.5 dt (4,4) pt 2
set linetype 6 lc rgb '#777777' lw 2 dt (2,3) pt 1
set linetype 7 lc rgb '#e69f00' lw 2 dt (12,3,2,3,2,3) pt 11
set linetype 8 lc rgb '#56b4e9' lw 2 dt (5,2) pt 15
set linetype 9 lc rgb '#0072b2' lw 2 dt (2,4) pt 6
set linetype 10 lc rgb '#d55e00' lw 2 dt 1 pt 4
set linetype 11 lc rgb '#009e73' lw 2 dt (12,3) pt 8
set linetype 12 lc rgb '#cc79a7' lw 2 dt (1,2) pt 12
set border 3
set tics nomirror
set grid ytics lt 1 lc rgb '#e4e4e4' lw 1 dt 1
set key at graph 1.04, graph 1 left top Left reverse samplen 3

# The data's blocks whose names begin with `begin`: the rest of the names as words, and the i-th one's number for `index`.
# A block named "note: ..." says where the numbers come from; figures print it at the bottom.
scan(begin, what) = system(sprintf("awk -v begin='%s' 'NR == 1 || empty >= 2 { if (index($0, \"# \" begin) == 1) \
    { name = substr($0, 3 + length(begin)); gsub(/\"/, \"\", name); print %s } number++ } \
    { empty = $0 == \"\" ? empty + 1 : 0 }' '%s'", begin, what, data))
blocks(begin) = scan(begin, '"\"" name "\""')
place(begin, i) = int(word(scan(begin, 'number + 0'), i))
note = scan('note: ', 'name')
# The number of the block that is called so. (gnuplot's own search by name takes 'square root' for 'square', if that comes first.)
block(name) = int(system(sprintf("awk -v name='%s' 'NR == 1 || empty >= 2 { if ($0 == \"# \" name) { print number + 0; exit } number++ } \
    { empty = $0 == \"\" ? empty + 1 : 0 }' '%s'", name, data)))
# A legend's width in pixels; what it needs beyond the 290 that a page has for it is added to the page.
larger(a, b) = a > b ? a : b
longest(names, i) = i > words(names) ? 0 : larger(strlen(word(names, i)), longest(names, i + 1))
wider(names) = larger(0.0, 80 + 7.7 * longest(names, 1) - 290)

# eval log_axis('index '.block('loss'), 2), or with '' for the whole file: y is logarithmic, and the shorter it is the more of
# its tics are labelled; below a factor of two it is linear.
fine_tics = "set ytics (1)"
finest_tics = "set ytics (1)"
do for [power=-7:9] {
    do for [digit in "1 2 5"] { fine_tics = fine_tics.sprintf("; set ytics add (%se%d)", digit, power) }
    do for [digit in "1 1.5 2 3 4 5 6 8"] { finest_tics = finest_tics.sprintf("; set ytics add (%se%d)", digit, power) }
}
log_axis(part, column) = sprintf("unset logscale y; stats data %s using ($%d > 0 ? $%d : NaN) nooutput; set logscale y; \
    eval STATS_max > 60 * STATS_min ? 'set ytics autofreq' : STATS_max > 6 * STATS_min ? fine_tics : \
         STATS_max > 2 * STATS_min ? finest_tics : 'unset logscale y; set ytics autofreq'", part, column, column)

# eval count_axis: tics of the x axis for numbers of images up to the largest in the data's first column, as 500k, 1M, 1.5M.
decade(x) = 10 ** floor(log10(x))
even(x) = (x < 2 * decade(x) ? 1 : x < 5 * decade(x) ? 2 : 5) * decade(x)
amount(x) = x >= 1e6 ? sprintf("%gM", x / 1e6) : x >= 1e3 ? sprintf("%gk", x / 1e3) : sprintf("%g", x)
amounts(x, step, end) = x > end ? '' : sprintf("%s'%s' %g", x > 0 ? ', ' : '', amount(x), x).amounts(x + step, step, end)
count_axis = "stats data using 1 nooutput; eval sprintf('set xtics (%s)', amounts(0.0, even(STATS_max / 4.0), 1.02 * STATS_max))"
