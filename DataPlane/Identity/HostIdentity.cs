using System.Collections.Immutable;
using System.Security.Cryptography.X509Certificates;

namespace Pollux.DataPlane.Identity;

/// <summary>Who this host is: its certificate with the key that never left it, and the authority that it trusts, the only one.</summary>
/// <param name="Host">Grain key, <c>cluster/host</c>.</param>
/// <param name="Certificate">With the private key; carries <see cref="HostUri"/> as a subject alternative name.</param>
/// <param name="Server">The control plane's address, for example <c>https://control:7400</c>.</param>
/// <param name="Addresses">By which the peer reaches this host, one for each network in order of preference; none: the one used to reach the server.</param>
public sealed record HostIdentity(
    string Host, X509Certificate2 Certificate, X509Certificate2 Authority, Uri Server, ImmutableArray<string> Addresses) : IDisposable
{
    public const string UriPrefix = "pollux://host/";

    public string Cluster => Host[..Host.IndexOf('/', StringComparison.Ordinal)];

    public string HostUri => UriPrefix + Host;

    public void Dispose()
    {
        Certificate.Dispose();
        Authority.Dispose();
    }
}
