using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;

namespace Pollux.DataPlane.Peers;

/// <summary>The addresses by which the peer reaches this host, one for each network, in order of preference.</summary>
public static class NetworkAddresses
{
    /// <summary>What is wrong with the list as it was given.</summary>
    /// <returns>Null: nothing.</returns>
    public static string? Refuse(IReadOnlyList<string> addresses)
    {
        if (addresses.Count > NetworkChoice.NetworksMax)
            return $"{addresses.Count} addresses are too many: a host has at most {NetworkChoice.NetworksMax}.";
        foreach (var address in addresses)
        {
            if (string.IsNullOrWhiteSpace(address) || Uri.CheckHostName(address.Trim('[', ']')) == UriHostNameType.Unknown)
                return $"'{address}' is neither an IP address nor a host name (a port is not part of it).";
        }
        return addresses.GroupBy(static address => address, StringComparer.OrdinalIgnoreCase).FirstOrDefault(static same => same.Count() > 1) is { } twice
            ? $"{twice.Key} is there twice: each address stands for a network of its own."
            : null;
    }

    /// <summary>Which of them does not lead to this machine.</summary>
    /// <returns>Null: all do.</returns>
    public static string? RefuseForeign(IReadOnlyList<string> addresses)
    {
        var here = NetworkInterface.GetAllNetworkInterfaces()
            .SelectMany(static network => network.GetIPProperties().UnicastAddresses).Select(static unicast => unicast.Address).ToHashSet();
        foreach (var address in addresses)
        {
            IPAddress[] means;
            try
            {
                means = IPAddress.TryParse(address.Trim('[', ']'), out var literal) ? [literal] : Dns.GetHostAddresses(address);
            }
            catch (SocketException e)
            {
                return $"{address} cannot be resolved: {e.Message}.";
            }
            if (!means.Any(here.Contains))
                return $"{address} is not an address of this machine. It has: {string.Join(", ", here.Where(static own => !IPAddress.IsLoopback(own) && !own.IsIPv6LinkLocal).Order(Comparer<IPAddress>.Create(static (a, b) => string.CompareOrdinal(a.ToString(), b.ToString()))))}.";
        }
        return null;
    }
}
