"""``make demo``: one image really travels. KEEP=1 leaves everything running; IMAGE= brings your own image;
PORT_SHIFT=1000 moves the ports, where the declared ones are taken."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from shell import StoryBroken, say
from story import NAME, Story, invitation

TOP = Path(__file__).resolve().parent.parent.parent


def interrupted(number: int, frame: FrameType | None) -> None:
    """Ctrl-C and SIGTERM end the story once; what stops its processes is not interrupted again."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    folder = Path(os.environ.get("DEMO_FOLDER") or TOP / ".demo")
    shift = int(os.environ.get("PORT_SHIFT") or 0)
    story = Story(TOP, folder, os.environ.get("IMAGE", ""), shift)
    keep, began = bool(os.environ.get("KEEP")), time.monotonic()
    story.stop_earlier()
    try:
        story.prepare()
        story.tell()
        if keep:
            story.start_again()
            invitation(story)
    except (StoryBroken, KeyboardInterrupt) as error:
        say(f"\ndemo: FAILED  {str(error) or 'interrupted'}")
        say(f"  logs: {story.work}/.towpath/nodes/*/node.log and control.log")
        story.stop()
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    except BaseException:
        story.stop()
        raise
    if not keep:
        story.stop()
    say(f"\n{NAME}, {time.monotonic() - began:.1f} s")
    say(f"demo: ok  ci-pool -> prod (eu) -> prod (us)  {story.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
