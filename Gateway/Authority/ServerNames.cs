using System.Collections.Immutable;
using System.Net;
using System.Net.NetworkInformation;
using System.Security.Cryptography.X509Certificates;

namespace Pollux.Gateway.Authority;

/// <summary>Names and addresses by which this server may be reached; its certificate carries them.</summary>
public sealed record ServerNames(ImmutableArray<string> Dns, ImmutableArray<IPAddress> Addresses)
{
    /// <summary>What the operator advertises, and what this machine is called and has as addresses.</summary>
    public static ServerNames Collect(IEnumerable<string> advertised)
    {
        var dns = new SortedSet<string>(StringComparer.OrdinalIgnoreCase) { "localhost", Environment.MachineName };
        var addresses = new HashSet<IPAddress> { IPAddress.Loopback, IPAddress.IPv6Loopback };
        foreach (var name in advertised)
            if (IPAddress.TryParse(name, out var address)) addresses.Add(address);
            else dns.Add(name);
        foreach (var face in NetworkInterface.GetAllNetworkInterfaces())
            foreach (var unicast in face.GetIPProperties().UnicastAddresses)
                if (!unicast.Address.IsIPv6LinkLocal) addresses.Add(unicast.Address);
        dns.RemoveWhere(name => Uri.CheckHostName(name) != UriHostNameType.Dns);
        return new ServerNames([.. dns], [.. addresses.OrderBy(address => address.ToString(), StringComparer.Ordinal)]);
    }

    /// <summary>Every name here is in the certificate.</summary>
    public bool CoveredBy(X509Certificate2 certificate)
    {
        var names = certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>().FirstOrDefault();
        return names is not null
            && Dns.All(name => names.EnumerateDnsNames().Contains(name, StringComparer.OrdinalIgnoreCase))
            && Addresses.All(address => names.EnumerateIPAddresses().Contains(address));
    }

    internal SubjectAlternativeNameBuilder ToBuilder()
    {
        var builder = new SubjectAlternativeNameBuilder();
        foreach (var name in Dns) builder.AddDnsName(name);
        foreach (var address in Addresses) builder.AddIpAddress(address);
        return builder;
    }
}
