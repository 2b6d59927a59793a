"""The two networks, each in one file: images to views, and views to Gaussians."""
