"""What a run leaves in its folder, and what it says on the screen."""
