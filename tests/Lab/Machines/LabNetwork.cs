using System.Net;
using System.Text;

namespace Pollux.Lab.Machines;

/// <summary>
/// The cables of a lab: one network namespace with a bridge is the switch; every host has a port in it, the machine itself
/// has one too (its end is the lab's .1), so that API and consoles are reachable from a shell of the machine.
/// Addresses are 10.77.n.0/24 with a free n; names carry the lab's id, so several labs live side by side.
/// Every host has a second cable, eth1, into a second switch: 10.78.n.0/24. Nobody uses it who is not told its address.
/// Cuts are rules of nftables' bridge family in the switch, so that whole frames vanish in one direction or both, silently.
/// </summary>
public sealed class LabNetwork
{
    private const int SubnetMax = 255;
    private static readonly string[] Bridges = ["br0", "br1"];

    /// <summary>Ports of interfaces in the switch; a TCP port if only its traffic is cut.</summary>
    private readonly HashSet<(string From, string To, int? Tcp)> _cuts = [];
    private readonly HashSet<string> _pulled = [];
    private readonly Dictionary<string, int> _ports = [];

    private LabNetwork(string id, int subnet)
    {
        Id = id;
        Subnet = subnet;
    }

    public string Id { get; }

    public int Subnet { get; }

    public string SwitchNamespace => NamespaceOf("switch");

    /// <summary>The machine's own interface into the lab; interface names have at most 15 characters.</summary>
    public string MachineInterface => "plx-" + Id;

    public string NamespaceOf(string host) => $"plx-{Id}-{host}";

    public IPAddress AddressOf(string host) => AddressOf(_ports[host]);

    public IPAddress AddressOf(int number) => AddressOf(number, network: 1);

    /// <param name="network">1 or 2.</param>
    public IPAddress AddressOf(int number, int network) => new([10, (byte)(76 + network), (byte)Subnet, (byte)number]);

    /// <summary>Lays the switch and the machine's own cable. The caller holds the lab folder's lock.</summary>
    /// <param name="id">At most 8 letters and digits: it becomes part of interface names.</param>
    public static async Task<LabNetwork> CreateAsync(string id)
    {
        var network = new LabNetwork(id, await FreeSubnetAsync());
        var sw = network.SwitchNamespace;
        await Shell.CheckAsync("ip", "netns", "add", sw);
        await Shell.CheckAsync("ip", "-n", sw, "link", "set", "lo", "up");
        foreach (var bridge in Bridges)
        {
            await Shell.CheckAsync("ip", "-n", sw, "link", "add", bridge, "type", "bridge");
            await Shell.CheckAsync("ip", "-n", sw, "link", "set", bridge, "up");
        }
        await Shell.CheckAsync("ip", "link", "add", network.MachineInterface, "type", "veth", "peer", "name", "machine", "netns", sw);
        await Shell.CheckAsync("ip", "-n", sw, "link", "set", "machine", "master", "br0", "up");
        await Shell.CheckAsync("ip", "link", "set", network.MachineInterface, "up");
        await Shell.CheckAsync("ip", "addr", "add", $"{network.AddressOf(1)}/24", "dev", network.MachineInterface);
        return network;
    }

    /// <summary>Plugs a host's namespace into the switches; its interfaces are called eth0 and eth1.</summary>
    public async Task PlugAsync(string host, int number)
    {
        _ports[host] = number;
        for (var network = 1; network <= Bridges.Length; network++)
            await PlugAsync(host, number, network);
    }

    private async Task PlugAsync(string host, int number, int network)
    {
        var (space, port, device) = (NamespaceOf(host), PortOf(host, network), $"eth{network - 1}");
        var address = AddressOf(number, network);
        await Shell.CheckAsync("ip", "link", "add", device, "netns", space, "type", "veth", "peer", "name", port, "netns", SwitchNamespace);
        await Shell.CheckAsync("ip", "-n", SwitchNamespace, "link", "set", port, "master", Bridges[network - 1], "up");
        await Shell.CheckAsync("ip", "-n", space, "link", "set", device, "up");
        await Shell.CheckAsync("ip", "-n", space, "addr", "add", $"{address}/24", "dev", device);
        // A kernel whose default is BBR is slow on veth; a namespace may not change the default, a route may.
        await Shell.RunAsync(["ip", "-n", space, "route", "change", $"10.{76 + network}.{Subnet}.0/24", "dev", device, "proto", "kernel",
            "scope", "link", "src", address.ToString(), "congctl", "cubic"]);
    }

    /// <summary>Pulls the cable for good: the port is gone (it comes back with <see cref="PlugAsync"/>).</summary>
    public async Task UnplugAsync(string host)
    {
        _pulled.Remove(host);
        for (var network = 1; network <= Bridges.Length; network++)
            await Shell.RunAsync(["ip", "-n", SwitchNamespace, "link", "del", PortOf(host, network)]);
    }

    public Task CutCableAsync(string host)
    {
        _pulled.Add(host);
        return Shell.CheckAsync("ip", "-n", SwitchNamespace, "link", "set", PortOf(host), "down");
    }

    public Task HealCableAsync(string host)
    {
        _pulled.Remove(host);
        return Shell.CheckAsync("ip", "-n", SwitchNamespace, "link", "set", PortOf(host), "up");
    }

    /// <summary>Frames between two hosts vanish in both directions; everything else passes.</summary>
    public Task CutBetweenAsync(string one, string other, int network = 1) => ChangeCutsAsync(cuts =>
    {
        cuts.Add((PortOf(one, network), PortOf(other, network), null));
        cuts.Add((PortOf(other, network), PortOf(one, network), null));
    });

    /// <summary>Frames between any two of these vanish, from one moment on.</summary>
    public Task CutAllBetweenAsync(params string[] hosts) => ChangeCutsAsync(cuts =>
    {
        foreach (var from in hosts)
            foreach (var to in hosts)
                if (from != to)
                    cuts.Add((PortOf(from), PortOf(to), null));
    });

    /// <summary>Frames from one host to another vanish; the way back passes.</summary>
    public Task CutOneWayAsync(string from, string to) => ChangeCutsAsync(cuts => cuts.Add((PortOf(from), PortOf(to), null)));

    /// <summary>Segments from or to one TCP port vanish between two hosts, in both directions; everything else passes.</summary>
    public Task CutTcpAsync(string one, string other, int port) => ChangeCutsAsync(cuts =>
    {
        cuts.Add((PortOf(one), PortOf(other), port));
        cuts.Add((PortOf(other), PortOf(one), port));
    });

    public Task HealBetweenAsync(string one, string other, int network = 1) => ChangeCutsAsync(cuts =>
    {
        cuts.Remove((PortOf(one, network), PortOf(other, network), null));
        cuts.Remove((PortOf(other, network), PortOf(one, network), null));
    });

    public async Task HealAllAsync()
    {
        await ChangeCutsAsync(cuts => cuts.Clear());
        foreach (var host in _pulled.ToList())
            await HealCableAsync(host);
    }

    private async Task ChangeCutsAsync(Action<HashSet<(string From, string To, int? Tcp)>> change)
    {
        change(_cuts);
        var rules = new StringBuilder("table bridge cuts\ndelete table bridge cuts\ntable bridge cuts {\n chain forward {\n");
        rules.Append("  type filter hook forward priority 0;\n");
        foreach (var (from, to, tcp) in _cuts)
            foreach (var match in tcp is { } port ? [$"tcp sport {port} ", $"tcp dport {port} "] : (string[])[""])
                rules.Append($"  iifname \"{from}\" oifname \"{to}\" {match}drop\n");
        rules.Append(" }\n}\n");
        (await Shell.RunAsync(["ip", "netns", "exec", SwitchNamespace, "nft", "-f", "-"], input: rules.ToString())).OrThrow();
    }

    private static string PortOf(string host, int network = 1) => (network == 1 ? "p-" : "q-") + host;

    private static async Task<int> FreeSubnetAsync()
    {
        var routes = (await Shell.CheckAsync("ip", "-4", "-o", "addr", "show")).Output;
        for (var subnet = 0; subnet <= SubnetMax; subnet++)
            if (!routes.Contains($" 10.77.{subnet}.", StringComparison.Ordinal))
                return subnet;
        throw new LabException("No free network among 10.77.0.0/24 … 10.77.255.0/24: remove abandoned labs with 'pollux-lab clean'.");
    }
}
