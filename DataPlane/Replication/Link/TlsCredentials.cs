using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Replication;

/// <summary>A host's certificate and key, and how its links speak TLS: 1.3 only, both ends authenticated, no tickets. For both ends of a link
/// and any number of them.</summary>
internal sealed unsafe class TlsCredentials : SafeHandle
{
    /// <summary>The 128-bit suite first: AES without vector instructions is what TLS costs most, and this one takes a seventh less.</summary>
    private const string Suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

    /// <param name="certificate">With its private key, ECDSA or RSA.</param>
    /// <exception cref="CryptographicException">OpenSSL is missing or cannot use it.</exception>
    public TlsCredentials(X509Certificate2 certificate)
        : base(0, ownsHandle: true)
    {
        if (OpenSsl.Missing is { } missing)
            throw new CryptographicException(missing);
        SetHandle(OpenSsl.NewContext(OpenSsl.TlsMethod()));
        Must(handle != 0);
        Must(OpenSsl.Control(handle, OpenSsl.ControlMinProtocolVersion, OpenSsl.Tls13, 0) == 1);
        Must(OpenSsl.SetCipherSuites(handle, Suites) == 1);
        Must(OpenSsl.SetTickets(handle, 0) == 1);
        // The end of a connection means nothing to us but that it has ended: what counts is in frames, each with its place and checksum.
        OpenSsl.SetOptions(handle, OpenSsl.OptionNoTicket | OpenSsl.OptionIgnoreUnexpectedEnd);
        OpenSsl.Control(handle, OpenSsl.ControlSessionCacheMode, 0, 0);
        OpenSsl.Control(handle, OpenSsl.ControlMode, OpenSsl.ModeEnablePartialWrite | OpenSsl.ModeAcceptMovingWriteBuffer, 0);
        OpenSsl.SetVerify(handle, OpenSsl.VerifyPeer | OpenSsl.VerifyFailIfNoPeerCertificate, 0);
        OpenSsl.SetCertificateVerify(handle, &TlsLayer.Judge, null);
        fixed (byte* der = certificate.RawData)
            Must(OpenSsl.UseCertificate(handle, certificate.RawData.Length, der) == 1);
        UseKeyOf(certificate);
    }

    /// <summary>Records after which a direction gets a new key. RFC 8446, 5.5: with AES-GCM one key is good for 2^24.5 full records.</summary>
    public long RecordsPerKey { get; init; } = 1 << 22;

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        OpenSsl.FreeContext(handle);
        return true;
    }

    private void UseKeyOf(X509Certificate2 certificate)
    {
        using var ec = certificate.GetECDsaPrivateKey();
        using var rsa = ec is null ? certificate.GetRSAPrivateKey() : null;
        var key = ec?.ExportECPrivateKey() ?? rsa?.ExportRSAPrivateKey()
            ?? throw new CryptographicException("the certificate has no private key that a link can use");
        try
        {
            fixed (byte* der = key)
                Must(OpenSsl.UsePrivateKey(ec is null ? OpenSsl.KeyTypeRsa : OpenSsl.KeyTypeEc, handle, der, key.Length) == 1);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(key);
        }
    }

    private static void Must(bool done)
    {
        if (!done)
            throw new CryptographicException($"OpenSSL cannot use the host's certificate: {OpenSsl.TakeErrors()}");
    }
}
