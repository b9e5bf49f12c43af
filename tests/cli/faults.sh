#!/bin/bash
# shellcheck disable=SC1091,SC2034
# Everything that can go wrong, as one table: how it is made, the exit status, the words of the message, and what must survive.
# The commands of the table are in faults/faults.bash; two of them are programs, faults/obstruct.c (writes that fail) and
# faults/pretend.c (another clock, another file system).
#
# `every_write` makes each write of a command fail in a run of its own: by default the first and the last at each place in
# the program, on a full disk, and a run killed where a file gets its name; with FAULTS=all (hours) every one, on a full, a
# read-only and a broken disk, for a moment and for good, and killed there.
[[ $(df --output=avail /dev/shm 2>/dev/null | tail -n 1) -lt 200000 ]] || export TMPDIR=/dev/shm # a disk's own pace is none of it
source "$(dirname "$0")/helpers.bash"
source tests/cli/faults/faults.bash

(fresh && go && mv "$HERE" "$FOLDER/whole" && fresh && start "step 120/" && await && mv "$HERE" "$FOLDER/long") >/dev/null 2>&1
ID=$(ICT_DB=$FOLDER/whole/ict.db sql "SELECT id FROM run")

table <<'END_OF_TABLE'
# fault                             | how it is made                                                  | exit | words of the message             | what must survive

# ---- a disk that fails at every write
full disk: a run                  | fresh && every_write "$ICT" "${SMALL[@]}" train.steps=10                      | 0 | writes failed |
full disk: an import of images    | whole && images given && every_write "$ICT" data import set given             | 0 | writes failed |
full disk: samples                | whole && below out && every_write "$ICT" sample "$ID" --threads 1 --seeds 0-1 --out out| 0 | writes failed |
full disk: an evaluation          | whole && below cache && every_write "$ICT" eval "$ID" --threads 1 --metrics classifier --samples 64 | 0 | writes failed |
full disk: arrays                  | whole && npz_input in.npz && apply_to in.npz && rm out.npz && every_write "$ICT" apply network.yaml --weights "$(newest 10)" -i in.npz -o out.npz --threads 1 | 0 | writes failed |
full disk: tables                 | whole && below tables && one_in 20 && every_write "$ICT" table all             | 0 | writes failed |
full disk: a figure               | whole && below figures && every_write "$ICT" figure curricula --format png    | 0 | writes failed |
full disk: TensorBoard's files    | whole && below events && every_write "$ICT" export --tensorboard events       | 0 | writes failed |
full disk: a folder for a hub     | whole && below hub && every_write "$ICT" export --hub hub "$ID" --threads 1    | 0 | writes failed |
full disk: another database's runs | whole && mv ict.db other.db && every_write "$ICT" import other.db            | 0 | writes failed |
full disk: standard output         | whole && to_full export metrics                                              | 1 | standard output;cut short |

# ---- folders that cannot be written
read-only results                  | fresh && obstructed EROFS . "${SMALL[@]}"                                     | 2 | ict.db;--db PATH | nothing_started
read-only folder of the runs       | whole && keep "$(newest 10)" && obstructed EROFS runs "${SMALL[@]}" train.steps=15 | 2 | runs/;Read-only file system;check that you have the right | kept "$(newest 10)"
read-only data                     | whole && images given && mkdir data && obstructed EACCES data data import set given | 2 | data;Permission denied;check that you have the right | no data/set

# ---- damaged files
zip cut short                      | zipped && cut_to 1000 a.zip && also data import set a.zip                     | 2 | a.zip | no data/set
zip altered                        | zipped && spoil a.zip && run data import set a.zip                            | 2 | a.zip;is damaged | no data/set
PNG cut short                      | whole && images given && cut_to 300 given/*2.png && run data import set given | 2 | seed-000002.png;cut short | no data/set
PNG altered                        | whole && images given && spoil given/*2.png && run data import set given      | 2 | seed-000002.png;cannot be decoded | no data/set
JPEG cut short                     | fresh && mkdir given && jpeg_make given/a.jpg && cut_to 120 given/a.jpg && run data import set given | 2 | a.jpg | no data/set
npz cut short                      | whole && npz_input in.npz && cut_to 3000 in.npz && apply_to in.npz            | 2 | in.npz | no out.npz
npz altered                        | whole && npz_input in.npz && spoil in.npz && apply_to in.npz                  | 2 | in.npz;is damaged | no out.npz
npy cut short                      | fresh && head -c 100 "$GOLDEN/numpy.npy" >a.npy && run eval --images a.npy --reference shapes | 2 | a.npy |
images.npy cut short               | stored && cut_to 2000 data/set/images.npy && go_set                           | 2 | images.npy;cut short |
dataset.yaml cut short             | stored && cut_to 30 data/set/dataset.yaml && go_set                           | 2 | dataset.yaml;is damaged;import the data set again |
pixels changed in place            | stored && sleep 0.02 && spoil data/set/images.npy && go_set                   | 2 | data/set;have changed since they were imported;import the data set again |
weights cut short                  | whole && npz_input in.npz && cp "$(newest 10)" w && cut_to 9000 w && apply_to in.npz w | 2 | w: damaged | no out.npz
newest checkpoint cut short        | undone && cut_to 9000 "$(newest 10)" && go                                    | 0 | checkpoint-10.safetensors: damaged;passed over;resumed from;checkpoint-5.safetensors | aside 1
newest checkpoint altered          | undone && spoil "$(newest 10)" && go                                          | 0 | checkpoint-10.safetensors: damaged;passed over;resumed from;checkpoint-5.safetensors | aside 1
all checkpoints altered            | undone && spoil "$(newest 10)" && spoil "$(newest 5)" && go                   | 0 | checkpoint-10.safetensors: damaged;checkpoint-5.safetensors: damaged | aside 2
database altered                   | whole && spoil_pages ict.db && keep ict.db && go                              | 2 | ict.db;it is left as it is;.recover;import | goes_on_without ict.db
database cut short                 | whole && cut_to 20000 ict.db && keep ict.db && go                             | 2 | ict.db;it is left as it is;.recover;import | goes_on_without ict.db
database that is none              | whole && head -c 5000 "$(newest 5)" >ict.db && keep ict.db && go              | 2 | ict.db;it is left as it is;.recover;import | goes_on_without ict.db
experiment cut short               | fresh && (cat "$EXPERIMENT" && printf "ct: {s0: 1") >a.yaml && run a.yaml         | 2 | a.yaml:;not valid YAML | nothing_started
experiment cut to nothing          | fresh && : >a.yaml && run a.yaml                                              | 2 | a.yaml: the file is empty | nothing_started
experiment that is none            | fresh && jpeg_make a.yaml && run a.yaml                                       | 2 | a.yaml:1:1 | nothing_started

# ---- what is not there or does not fit
nothing to import                  | fresh && run data import set nowhere.zip                                      | 2 | nowhere.zip;there is no such file | no data
missing data set                   | fresh && go data.name=cifar                                                   | 2 | no data set 'cifar';data import cifar PATH | nothing_started
missing weights                    | fresh && npz_input in.npz && apply_to in.npz nowhere.safetensors              | 2 | nowhere.safetensors: cannot be opened | no out.npz
weights of another network         | whole && npz_input in.npz && apply_to in.npz "$(newest 10)" model.channels=16 | 2 | checkpoint-10;of another shape;in the file;in the network | no out.npz
data set exchanged after a run     | stored && go_set && exchanged && go_set                                       | 0 | 1 done | states done done done

# ---- numbers
training diverges                  | fresh && go_far                                                               | 1 | diverged at step;(N =;1 done, 1 failed | readable

# ---- processes, clocks, machines
two queues, one run                | fresh && start "step 45/" && meanwhile                                        | 75 | is being run by process | same_bits
two databases, one folder          | fresh && start "step 45/" && meanwhile --db "$HERE/b.db" --folder "$HERE"     | 2 | is in use by another process;--folder | same_bits
a run is killed                    | fresh && start "step 45/" && kill -KILL "$(worker)" && await                  | 1 | killed by signal 9;the same command goes on | same_bits
its parent is killed               | fresh && start "step 45/" && kill -KILL $PARENT && await; wait_for 60 idle    | 137 | step 5/ | same_bits
its output is closed               | fresh && COMMAND=("${SMALL[@]}" train.steps=120) REFERENCE=$FOLDER/long && to_head "${COMMAND[@]}"; wait_for 60 idle | 141 | run | same_bits
the clock goes back a day          | fresh && off_by 0 && start "step 45/" && off_by -86400 && ICT=$PROGRAM meanwhile && and_both | 0 | is being run by process;1 done | same_bits
the clock goes on by a day         | fresh && off_by 0 && start "step 45/" && off_by 86400 && ICT=$PROGRAM meanwhile && and_both | 0 | is being run by process;1 done | same_bits
another's clock is a day ahead     | fresh && start "step 45/" && off_by 86400 && meanwhile                        | 75 | is being run by process | same_bits
network file system                | fresh && on_nfs && go && also doctor                                          | 0 | lies on NFS;rollback journal;--db PATH;journal delete | same_bits
two processes on a network         | fresh && on_nfs && go seed=0,1 --jobs 2                                       | 0 | lies on NFS;2 done | states done done

# ---- poor surroundings
no memory                          | unless "${SANITIZED:-}"; fresh && limited -v 900000 "${SMALL[@]}" train.batch=512 train.micro_batch=512 model.channels=64 | 1 | out of memory;smaller batch | states failed
32 open files                      | fresh && go && limited -n 32 "${COMMAND[@]}" --force                          | 0 | 1 done | unharmed
5 open files                       | whole && limited -n 5 ls                                                      | 2 | ict.db |
nothing on PATH                    | fresh && PATH=/nowhere go                                                     | 0 | cannot be drawn without gnuplot;1 done | same_bits
no environment                     | fresh && DB=$ICT_DB && unset HOME ICT_DB ICT_DATA && go --db "$DB" && ICT_DB=$DB | 0 | 1 done | unharmed
decimal comma                      | fresh && comma_locale && go && run export metrics && also figure curricula --format svg | 0 | ,10,80,loss,1 | points
spaces, letters beyond ASCII       | fresh && checkout "Öl auf Holz" && export ICT_DB="$HERE/é è/ict.db" ICT_DATA="$HERE/Bilder 1" && go && also figure curricula | 0 | 1 done;é è/figures/curricula | test -s "é è/figures/curricula.pdf"
standard input closed              | fresh && go <&-                                                               | 0 | 1 done | same_bits
all streams closed                 | fresh && go && (exec "$ICT" "${COMMAND[@]}" --force <&- >&- 2>&-) && also ls  | 0 | done | unharmed
a reader that has seen enough      | whole && to_head ls                                                           | 0 | state |
a terminal of 20 columns           | fresh && on_terminal 20 "${SMALL[@]}" train.steps=10                          | 0 | step 10/10 | narrow 20

# ---- mistakes
unknown experiment                 | fresh && run "${EXPERIMENT/quick/quik}"                                       | 2 | quikstart.yaml;did you mean;quickstart.yaml | nothing_started
ambiguous id                       | fresh && many; run show "$(first_shared)"                                     | 2 | is the beginning of several runs |
unknown command                    | fresh && run exprot                                                           | 2 | did you mean 'export' | nothing_started
unknown key                        | fresh && go train.stpes=1                                                     | 2 | train.steps | nothing_started
END_OF_TABLE
finish
