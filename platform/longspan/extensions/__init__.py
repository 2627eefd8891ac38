"""Extension points: kinds of classes that users add from outside the package."""
