"""The three assumptions over time: traffic with a known truth, a trained model, an archive.

catalogue, rate of new items → world → hits of both archives → scores → outcome → experiments
"""
