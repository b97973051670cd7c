"""`python -m app.cli`, where no script is installed."""

from app.cli import main

if __name__ == "__main__":
    main()
