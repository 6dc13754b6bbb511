using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Serialization;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.HostProtocol;

namespace Pollux.Gateway.Sessions;

/// <summary>What hosts keep for a control plane that has lost its database, and what they say of it afterwards.</summary>
/// <remarks>Policies and specs travel as text that hosts do not look into, so that a new member of either needs nothing here and nothing on hosts.
/// Directories, which are long, are in the order anyway.</remarks>
internal static class RecoveryMapping
{
    /// <summary>As in a report.</summary>
    private const int ModulesMax = ClusterMembership.ModulesMaxMax;

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        Converters = { new JsonStringEnumConverter() },
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    public static string ToText(ClusterPolicy policy) => JsonSerializer.Serialize(policy, Json);

    public static string ToText(ModuleSpec spec) => JsonSerializer.Serialize(spec with { Directory = "", FurtherDirectories = [] }, Json);

    public static bool IsComplete(Recovered recovered, string cluster) =>
        (recovered.Peer is null || IsIn(recovered.Peer, cluster))
        && !recovered.Modules.IsDefault && recovered.Modules.Length <= ModulesMax
        && recovered.Modules.All(module => module is { Order: { Directory: not null, InitialHost: not null }, DataState: not null }
            && IsIn(module.Order.Module, cluster) && IsIn(module.Order.InitialHost, cluster)
            && (module.Record is null || (!module.Record.InSync.IsDefault && module.Record.InSync.All(host => IsIn(host, cluster)))));

    /// <param name="recovered">A complete one.</param>
    public static HostMemory ToMemory(Recovered recovered)
    {
        // A policy that cannot be read is worth less than one that can, and no reason to leave a cluster unrecovered.
        var policy = Read<ClusterPolicy>(recovered.ClusterText) is { } text && ClusterMembership.Policy(text) is null ? text : Guess(recovered);
        return new HostMemory(
            recovered.Generation, recovered.Peer is { } peer ? GrainKey.NameOf(peer) : null, policy,
            [.. recovered.Modules.Where(module => module.Order.Phase == HostProtocol.ModulePhase.Active).Select(ToMemory)]);
    }

    private static ModuleMemory ToMemory(RecoveredModule module) => new(
        GrainKey.NameOf(module.Order.Module), ToSpec(module.Order), module.Order.Run,
        module.Record is { } record ? new RecordView(record.Incarnation, record.Epoch, record.Primary, record.InSync) { Declared = record.Declared } : null, module.DataState);

    private static ModuleSpec ToSpec(DesiredModule order)
    {
        var told = Read<ModuleSpec>(order.SpecText) ?? new ModuleSpec(
            "", GrainKey.NameOf(order.InitialHost), order.Vm is { } vm ? new VmDefinition(vm.Domain, vm.DefinitionFile) : null,
            order.ResyncLimits is { } limits ? new ResyncPolicy(limits.BytesPerSecondMin, limits.BytesPerSecondMax) : null);
        return told with { Directory = order.Directory, FurtherDirectories = order.FurtherDirectories };
    }

    /// <summary>From the orders of an earlier release, which had no text.</summary>
    private static ClusterPolicy? Guess(Recovered recovered) => recovered.Modules.Select(module => module.Order).FirstOrDefault() is { } order
        ? ClusterPolicy.Default with
        {
            DetectionMs = Math.Clamp(order.DetectionMs, ClusterPolicy.DetectionMsMin, ClusterPolicy.DetectionMsMax),
            Link = order.Link == DesiredModule.PlaintextLink ? LinkSecurity.Plaintext : LinkSecurity.Tls,
        }
        : null;

    private static T? Read<T>(string? text) where T : class
    {
        try
        {
            return text is null ? null : JsonSerializer.Deserialize<T>(text, Json);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static bool IsIn(string? key, string cluster) => GrainKey.TryParse(key, out var own, out _) && own == cluster;
}
