"""What siege sends, as its options say."""
