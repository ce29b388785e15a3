"""Lines on stderr that say how far a run is, and when it will probably be done."""

import sys
import time


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


class Progress:
    """Called with (done, total) as often as one likes: prints at most every `every` seconds, and the end."""

    def __init__(self, what, every=10):
        self.what, self.every = what, every
        self.started = self.printed = time.monotonic()

    def __call__(self, done, total):
        now = time.monotonic()
        if done < total and now - self.printed < self.every:
            return
        self.printed = now
        spent = now - self.started
        left = f", {duration(spent / done * (total - done))} left" if 0 < done < total else ""
        say(f"{self.what}: {done:,} of {total:,} after {duration(spent)}{left}")
