using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Pollux.DataPlane.Identity;

namespace Pollux.Tests.Unit.Hosts;

/// <summary>A certificate authority of a test: signs hosts and a gateway.</summary>
internal sealed class TestAuthority : IDisposable
{
    private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);

    public TestAuthority()
    {
        var request = new CertificateRequest("CN=test authority", _key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        Certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddDays(1));
    }

    public X509Certificate2 Certificate { get; }

    public string CertificatePem => Certificate.ExportCertificatePem();

    public HostIdentity Host(string key, Uri? server = null)
    {
        using var own = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var certificate = Sign(new CertificateRequest($"CN={key}", own, HashAlgorithmName.SHA256), names => names.AddUri(new Uri("pollux://host/" + key)));
        return new HostIdentity(key, certificate.CopyWithPrivateKey(own), X509CertificateLoader.LoadCertificate(Certificate.RawData),
            server ?? new Uri("https://localhost:1"), Addresses: []);
    }

    public X509Certificate2 Gateway()
    {
        using var own = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var certificate = Sign(new CertificateRequest("CN=gateway", own, HashAlgorithmName.SHA256), names =>
        {
            names.AddDnsName("localhost");
            names.AddIpAddress(IPAddress.Loopback);
        });
        return certificate.CopyWithPrivateKey(own);
    }

    public string SignHost(string requestPem, string key) =>
        Sign(CertificateRequest.LoadSigningRequestPem(requestPem, HashAlgorithmName.SHA256),
            names => names.AddUri(new Uri("pollux://host/" + key))).ExportCertificatePem();

    public void Dispose()
    {
        _key.Dispose();
        Certificate.Dispose();
    }

    private X509Certificate2 Sign(CertificateRequest request, Action<SubjectAlternativeNameBuilder> name)
    {
        var names = new SubjectAlternativeNameBuilder();
        name(names);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension(
            [new Oid("1.3.6.1.5.5.7.3.1"), new Oid("1.3.6.1.5.5.7.3.2")], false));
        var generator = X509SignatureGenerator.CreateForECDsa(_key);
        return request.Create(Certificate.SubjectName, generator, DateTimeOffset.UtcNow.AddMinutes(-5), DateTimeOffset.UtcNow.AddHours(12),
            RandomNumberGenerator.GetBytes(12));
    }
}
