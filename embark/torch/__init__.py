"""Archived vectors in PyTorch's training loops. The one part of the library that imports torch.

embedding = CachedEmbedding(Client(), "minilm")
head = torch.nn.Linear(384, 10)
for (texts, labels), vectors in embedding.prefetching(loader, inputs=lambda batch: batch[0]):
    loss = cross_entropy(head(vectors), labels)

Not for computing vectors: what the archive lacks is a placeholder, or is waited for.
"""

from embark.torch.embedding import CachedEmbedding

__all__ = ["CachedEmbedding"]
