using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace Pollux.Gateway.Authority;

/// <summary>The installation's own certificate authority: made at the first start, signs the server and every host that joins.</summary>
/// <remarks>ECDSA P-256 throughout. The authority's key lies in the data directory, mode 0600; whoever has it can be any host.</remarks>
public sealed class CertificateAuthority : IDisposable
{
    public const string CertificateFile = "ca.crt";
    public const string KeyFile = "ca.key";

    /// <summary>A host joins again within a year, as with any certificate authority.</summary>
    private static readonly TimeSpan LeafLifetime = TimeSpan.FromDays(365);

    private static readonly TimeSpan AuthorityLifetime = TimeSpan.FromDays(3650);

    /// <summary>Clocks of hosts may be behind by this much.</summary>
    private static readonly TimeSpan ClockSkew = TimeSpan.FromDays(1);

    internal const int TokenProofBytes = 16;

    private const string ServerUse = "1.3.6.1.5.5.7.3.1";
    private const string ClientUse = "1.3.6.1.5.5.7.3.2";

    private readonly TimeProvider _time;

    private CertificateAuthority(X509Certificate2 certificate, TimeProvider time)
    {
        Certificate = certificate;
        _time = time;
    }

    /// <summary>With its private key.</summary>
    public X509Certificate2 Certificate { get; }

    public string CertificatePem => Certificate.ExportCertificatePem();

    /// <summary>SHA-256 of the certificate in DER.</summary>
    public byte[] Fingerprint => SHA256.HashData(Certificate.RawData);

    /// <exception cref="InvalidDataException">Only one of certificate and key is there, or they do not fit.</exception>
    public static CertificateAuthority LoadOrCreate(string directory, TimeProvider time)
    {
        var (certificatePath, keyPath) = (Path.Combine(directory, CertificateFile), Path.Combine(directory, KeyFile));
        if (File.Exists(certificatePath) && File.Exists(keyPath))
            return new CertificateAuthority(X509Certificate2.CreateFromPemFile(certificatePath, keyPath), time);
        // The certificate is written last, so a crash leaves at most a key without one, and no host knows it yet.
        if (File.Exists(certificatePath))
            throw new InvalidDataException(
                $"{certificatePath} is there without {KeyFile}. Bring the key back from a backup; a new authority would mean that every host joins again.");
        return Create(certificatePath, keyPath, time);
    }

    /// <param name="publicKey">The host's own.</param>
    /// <param name="host">Grain key, <c>cluster/host</c>.</param>
    public X509Certificate2 SignHost(PublicKey publicKey, string host)
    {
        var names = new SubjectAlternativeNameBuilder();
        names.AddUri(HostName.UriOf(host));
        var request = new CertificateRequest(new X500DistinguishedName($"CN=\"{host}\""), publicKey, HashAlgorithmName.SHA256);
        return Sign(request, names, [ServerUse, ClientUse]);
    }

    /// <param name="names">Names and addresses by which the server is reached.</param>
    /// <returns>With its private key.</returns>
    public X509Certificate2 IssueServer(ServerNames names)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(new X500DistinguishedName("CN=pollux server"), key, HashAlgorithmName.SHA256);
        using var signed = Sign(request, names.ToBuilder(), [ServerUse]);
        return signed.CopyWithPrivateKey(key);
    }

    /// <summary>Proves to a gateway that one of this installation issued a join token, before anything is looked up by what the token says.</summary>
    /// <param name="secret">The part that the host's grain knows.</param>
    /// <returns>16 bytes: beyond guessing, and the token stays one line.</returns>
    public byte[] TokenProof(string host, string secret)
    {
        using var key = Certificate.GetECDsaPrivateKey()!;
        var secretKey = HKDF.DeriveKey(HashAlgorithmName.SHA256, key.ExportParameters(true).D!, 32, info: "pollux join token"u8.ToArray());
        return HMACSHA256.HashData(secretKey, Encoding.UTF8.GetBytes($"{host}\n{secret}"))[..TokenProofBytes];
    }

    /// <summary>True if this authority signed it and it is valid now.</summary>
    public bool Signed(X509Certificate2 certificate)
    {
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.Add(Certificate);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.DisableCertificateDownloads = true;
        chain.ChainPolicy.VerificationTime = _time.GetUtcNow().UtcDateTime;
        chain.ChainPolicy.ApplicationPolicy.Add(new Oid(ClientUse));
        return chain.Build(certificate);
    }

    public void Dispose() => Certificate.Dispose();

    private static CertificateAuthority Create(string certificatePath, string keyPath, TimeProvider time)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var name = $"CN=Pollux authority {Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))}";
        var request = new CertificateRequest(new X500DistinguishedName(name), key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, true, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        var now = time.GetUtcNow();
        var certificate = request.CreateSelfSigned(now - ClockSkew, now + AuthorityLifetime);
        PrivateFile.Write(keyPath, key.ExportPkcs8PrivateKeyPem());
        PrivateFile.Write(certificatePath, certificate.ExportCertificatePem());
        return new CertificateAuthority(certificate, time);
    }

    private X509Certificate2 Sign(CertificateRequest request, SubjectAlternativeNameBuilder names, string[] uses)
    {
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([.. uses.Select(use => new Oid(use))], false));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(Certificate, true, false));
        request.CertificateExtensions.Add(names.Build());
        var serial = RandomNumberGenerator.GetBytes(16);
        serial[0] &= 0x7f; // A serial number is positive (RFC 5280 §4.1.2.2).
        var now = _time.GetUtcNow();
        var notAfter = now + LeafLifetime;
        return request.Create(Certificate, now - ClockSkew, notAfter < Certificate.NotAfter ? notAfter : Certificate.NotAfter, serial);
    }
}
