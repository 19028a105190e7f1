"""What canuse tells about itself."""
