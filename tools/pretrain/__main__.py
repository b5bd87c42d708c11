"""The command line: images, train, score, export."""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
THREADS = int(os.environ.get("PRETRAIN_THREADS", "1"))


def main() -> None:
    command, *arguments = sys.argv[1:] or ["help"]
    if command == "images":
        from tools.pretrain import images

        for number in range(int(arguments[0])):
            started = time.perf_counter()
            count = len(images.shard(number)["images"])
            print(f"{number}: {count}, {time.perf_counter() - started:.0f} s")
    elif command == "train":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        from tools.pretrain import train

        recipe = train.RECIPES[arguments[0]]
        log = train.FOLDER / f"{recipe.name}.log"

        def say(text: str) -> None:
            print(text, flush=True)
            with log.open("a") as file:
                file.write(f"{time.strftime('%H:%M:%S')} {text}\n")

        train.train(recipe, say)
    elif command == "score":
        from tools.pretrain import score

        score.score(arguments)
    elif command == "export":
        from tools.pretrain import export, score

        export.export(score.candidate(arguments[0])[0])
    else:
        print(__import__("tools.pretrain", fromlist=["x"]).__doc__)


if __name__ == "__main__":
    main()
