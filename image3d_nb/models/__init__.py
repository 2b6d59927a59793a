"""The two networks, each in one file: pictures to views, and views to Gaussians."""
