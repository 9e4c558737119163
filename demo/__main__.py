"""`make demo`: plays every chapter; exits with 0 only if each step came out as it says."""

from __future__ import annotations

import sys
import time
import traceback

from demo import (
    asleep,
    envelope,
    event_loop,
    exclusive_pair,
    high_water,
    pipeline,
    publish_subscribe,
    request_reply,
)
from demo.story import LIBRARY, Failure, Story

CHAPTERS = (
    request_reply,
    publish_subscribe,
    pipeline,
    exclusive_pair,
    high_water,
    envelope,
    asleep,
    event_loop,
)


def main() -> int:
    began = time.monotonic()
    story = Story()
    print(f"Library: {LIBRARY}. Every step is checked; the demo fails if one is not true.")
    try:
        for number, chapter in enumerate(CHAPTERS, start=1):
            title = (chapter.__doc__ or "").partition("\n")[0]
            story.chapter(f"{number}. {title}")
            with story.deadline(title):
                chapter.tell(story)
                story.reap()
    except Exception as error:
        if not isinstance(error, Failure):
            traceback.print_exc()
        print(f"  ✗ {error}\n\nThe demo FAILED.", flush=True)
        return 1
    finally:
        story.close()
    print(f"\nAll {story.steps} steps came out as promised, in {time.monotonic() - began:.1f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
