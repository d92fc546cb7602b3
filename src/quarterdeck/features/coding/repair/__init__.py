"""Program repair without a model: localise by spectrum, mutate by templates, judge by tests."""
