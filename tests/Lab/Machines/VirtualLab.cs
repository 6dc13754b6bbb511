using System.Net;

namespace Pollux.Lab.Machines;

/// <summary>A network, a machine for the control plane (<c>ctl</c>) and hosts with libvirt, all on this machine.</summary>
public sealed class VirtualLab : IAsyncDisposable
{
    public const string ControlName = "ctl";
    private const int ControlNumber = 10;
    private const int IdLength = 6;

    private VirtualLab(string id, LabNetwork network, LabHost control, IReadOnlyList<LabHost> hosts)
    {
        Id = id;
        Network = network;
        Control = control;
        Hosts = hosts;
    }

    public string Id { get; }

    public string Folder => LabFolder.Of(Id);

    public LabNetwork Network { get; }

    public LabHost Control { get; }

    public IReadOnlyList<LabHost> Hosts { get; }

    public LabHost this[string name] => Hosts.Single(host => host.Name == name);

    /// <summary>Lays the network and makes the hosts, all switched off.</summary>
    /// <param name="id">A fixed id, or null for a free one.</param>
    public static async Task<VirtualLab> CreateAsync(IReadOnlyList<string> hostNames, string? id = null)
    {
        if (LabRequirements.MissingReason() is { } reason)
            throw new LabException(reason);
        await using var guard = await LabFolder.LockAsync();
        id ??= Guid.NewGuid().ToString("n")[..IdLength];
        Directory.CreateDirectory(LabFolder.Of(id));
        LabFolder.Claim(id);
        var network = await LabNetwork.CreateAsync(id);
        var names = new Dictionary<string, IPAddress> { [ControlName] = network.AddressOf(ControlNumber) };
        foreach (var (index, name) in hostNames.Index())
            names[name] = network.AddressOf(ControlNumber + 1 + index);
        LabHost Make(string name, int number, bool withLibvirt) =>
            new(network, name, number, Path.Combine(LabFolder.Of(id), name), withLibvirt, names);
        return new VirtualLab(id, network, Make(ControlName, ControlNumber, withLibvirt: false),
            [.. hostNames.Select((name, index) => Make(name, ControlNumber + 1 + index, withLibvirt: true))]);
    }

    /// <summary>Ends every process of the lab and deletes its files.</summary>
    public async ValueTask DisposeAsync() => await LabFolder.RemoveAsync(Id);
}
