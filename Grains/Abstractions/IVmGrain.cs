using Orleans.Runtime;

namespace Pollux.Grains.Abstractions;

/// <summary>What is known of one VM. The key is <c>cluster/domain</c>.</summary>
[GrainInterfaceType("pollux.vm"), Alias("pollux.IVmGrain")]
public interface IVmGrain : IGrainWithStringKey
{
    /// <summary>A host says what it sees. A host that does not run the VM changes nothing about the one that does.</summary>
    [Alias("Sighted")]
    Task SightedAsync(VmSighting sighting);

    /// <summary>Null if no host has said anything about it.</summary>
    [Alias("Read"), AlwaysInterleave]
    Task<VmView?> ReadAsync();
}

/// <param name="Module">Grain key of the module that carries it.</param>
/// <param name="Host">Grain key of the host that says so.</param>
/// <param name="State">As in <see cref="ModuleReport.VmState"/>.</param>
/// <param name="Epoch">Epoch of the record that the host acts on: an older one does not overwrite a newer one.</param>
[GenerateSerializer, Immutable, Alias("pollux.VmSighting")]
public sealed record VmSighting(
    [property: Id(0)] string Module,
    [property: Id(1)] string DefinitionFile,
    [property: Id(2)] string Host,
    [property: Id(3)] string State,
    [property: Id(4)] long Epoch,
    [property: Id(5)] long UnixMs);

/// <param name="Host">Where it runs or last ran.</param>
/// <param name="SinceUnixMs">When this state on this host was first seen.</param>
[GenerateSerializer, Immutable, Alias("pollux.VmView")]
public sealed record VmView(
    [property: Id(0)] string Domain,
    [property: Id(1)] string Module,
    [property: Id(2)] string DefinitionFile,
    [property: Id(3)] string State,
    [property: Id(4)] string Host,
    [property: Id(5)] long Epoch,
    [property: Id(6)] long SinceUnixMs);
