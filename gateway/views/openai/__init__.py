"""OpenAI's embeddings API, with the extension for images that infinity has."""
