"""The command under its old path; see ``launchplans.registration.register``."""

from launchplans.registration.register import main

if __name__ == "__main__":
    main()
