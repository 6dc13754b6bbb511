using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Pollux.DataPlane.Replication;

namespace Pollux.DataPlane.Identity;

/// <summary>Mutual TLS 1.3 between the hosts of a cluster, and from a host to the gateway. Trust is the cluster's own authority and
/// nothing else: the system's trusted roots do not count, and a host is who its certificate's URI says, whatever address it has.</summary>
public sealed class HostTls(HostIdentity identity)
{
    private const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";
    private const string ServerAuthentication = "1.3.6.1.5.5.7.3.1";

    private readonly SslStreamCertificateContext _certificate =
        SslStreamCertificateContext.Create(identity.Certificate, additionalCertificates: null, offline: true);
    private readonly TlsCredentials _link = new(identity.Certificate);

    /// <summary>Authenticates both ends of an accepted connection.</summary>
    /// <returns>The encrypted stream and the grain key of the host at the other end.</returns>
    /// <exception cref="AuthenticationException">Not TLS 1.3, no certificate of our authority, or not a host of our cluster.</exception>
    public async ValueTask<(Stream Stream, string PeerHost)> AcceptAsync(Stream transport, CancellationToken cancel)
    {
        string? host = null;
        var tls = new SslStream(transport, leaveInnerStreamOpen: false);
        try
        {
            await tls.AuthenticateAsServerAsync(new SslServerAuthenticationOptions
            {
                ServerCertificateContext = _certificate,
                ClientCertificateRequired = true,
                EnabledSslProtocols = SslProtocols.Tls13,
                CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
                AllowRenegotiation = false,
                RemoteCertificateValidationCallback = (_, certificate, _, _) => IsHost(certificate, ClientAuthentication, out host),
            }, cancel).ConfigureAwait(false);
        }
        catch
        {
            await tls.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        return (tls, host!);
    }

    /// <summary>Authenticates both ends of a dialled connection; the other end must be exactly <paramref name="peerHost"/>.</summary>
    /// <exception cref="AuthenticationException">It is not, or not by our authority, or not TLS 1.3.</exception>
    public async ValueTask<Stream> DialAsync(Stream transport, string peerHost, CancellationToken cancel)
    {
        string? host = null;
        var tls = new SslStream(transport, leaveInnerStreamOpen: false);
        try
        {
            await tls.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
            {
                // The name indication carries no authority: the URI in the certificate does.
                TargetHost = "pollux-host",
                ClientCertificateContext = _certificate,
                EnabledSslProtocols = SslProtocols.Tls13,
                CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
                AllowRenegotiation = false,
                RemoteCertificateValidationCallback = (_, certificate, _, _) =>
                    IsHost(certificate, ServerAuthentication, out host) && host == peerHost,
            }, cancel).ConfigureAwait(false);
        }
        catch (AuthenticationException e) when (host is not null && host != peerHost)
        {
            await tls.DisposeAsync().ConfigureAwait(false);
            throw new AuthenticationException($"The host at the peer's address is {host}, not {peerHost}.", e);
        }
        catch
        {
            await tls.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        return tls;
    }

    /// <summary>Authenticates both ends of an accepted replication link and puts TLS on it.</summary>
    /// <returns>The grain key of the host at the other end.</returns>
    /// <exception cref="AuthenticationException">Not TLS 1.3, no certificate of our authority, or not a host of our cluster.</exception>
    internal async ValueTask<string> AcceptLinkAsync(LinkTransport transport, CancellationToken cancel)
    {
        string? host = null;
        await transport.SecureAsync(_link, accepts: true, certificate => IsHost(certificate, ClientAuthentication, out host), cancel).ConfigureAwait(false);
        return host!;
    }

    /// <summary>The same for a dialled one; the other end must be exactly <paramref name="peerHost"/>.</summary>
    /// <returns><paramref name="peerHost"/>.</returns>
    /// <exception cref="AuthenticationException">It is not, or not by our authority, or not TLS 1.3.</exception>
    internal async ValueTask<string> DialLinkAsync(LinkTransport transport, string peerHost, CancellationToken cancel)
    {
        string? host = null;
        try
        {
            await transport.SecureAsync(
                _link, accepts: false, certificate => IsHost(certificate, ServerAuthentication, out host) && host == peerHost, cancel).ConfigureAwait(false);
            return peerHost;
        }
        catch (AuthenticationException e) when (host is not null && host != peerHost)
        {
            throw new AuthenticationException($"The host at the peer's address is {host}, not {peerHost}.", e);
        }
    }

    /// <summary>Options for the connection to the gateway: its certificate must come from our authority and name the address dialled.</summary>
    public SslClientAuthenticationOptions GatewayOptions() => Gateway(identity.Authority, _certificate);

    internal static SslClientAuthenticationOptions Gateway(X509Certificate2 authority, SslStreamCertificateContext? certificate) => new()
    {
        ClientCertificateContext = certificate,
        EnabledSslProtocols = SslProtocols.Tls13,
        CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
        RemoteCertificateValidationCallback = (_, presented, _, errors) =>
            !errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch) && IsTrusted(presented, authority, ServerAuthentication),
    };

    private bool IsHost(X509Certificate? presented, string purpose, out string? host)
    {
        host = presented is X509Certificate2 certificate && IsTrusted(certificate, identity.Authority, purpose)
            ? CertificateNames.HostOf(certificate)
            : null;
        return host is not null && host.StartsWith(identity.Cluster + "/", StringComparison.Ordinal);
    }

    private static bool IsTrusted(X509Certificate? presented, X509Certificate2 authority, string purpose)
    {
        if (presented is not X509Certificate2 certificate)
            return false;
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.Add(authority);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.DisableCertificateDownloads = true;
        chain.ChainPolicy.ApplicationPolicy.Add(new System.Security.Cryptography.Oid(purpose));
        return chain.Build(certificate);
    }
}
