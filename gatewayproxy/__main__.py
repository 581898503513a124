"""`python -m gatewayproxy`, and the console script."""

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run one command; return its exit status."""
    if sys.argv[1:2] == ["run"]:
        # Without a handler they would kill it: they wait until the supervisor has them, and are answered then.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1})
    from gatewayproxy.cli import main as run_command  # most of the time to start is importing

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
