"""How the bundled backbone was made: images without tumor labels, tasks, training.

    python -m tools.pretrain images 2          render shards of slices into the cache
    python -m tools.pretrain train anatomy     train, or go on where it was cut off
    python -m tools.pretrain score NAME ...    compare, on folds 0 and 1 and on phantoms
    python -m tools.pretrain export NAME       write data/weights/

`score` needs the real images (BRAIN_MRI_DATA); nothing else does. No real image, no
tumor class and no other network's weights take part in training. PRETRAIN_THREADS: the
number of threads, 1 unless set.
"""
