namespace Pollux.Grains.Abstractions;

/// <summary>How the replication data of a cluster travels. The hosts authenticate each other by mutual TLS in either case.</summary>
[GenerateSerializer, Alias("pollux.LinkSecurity")]
public enum LinkSecurity
{
    /// <summary>Encrypted, TLS 1.3.</summary>
    Tls,

    /// <summary>Readable and changeable by whoever is on the wire: for a network of the two hosts' own.</summary>
    Plaintext,
}
