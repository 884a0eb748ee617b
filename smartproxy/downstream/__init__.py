"""The client's connection: Twisted's pair of ServerFactory and Protocol."""
