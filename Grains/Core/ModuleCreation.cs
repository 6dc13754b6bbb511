using System.Collections.Immutable;
using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>The way of a module from wish to acceptance: checked here, then by both hosts, then active or gone.</summary>
public static class ModuleCreation
{
    /// <summary>Time for both verdicts, milliseconds: a host answers a new desired state within a poll of 3 s, and measures a directory
    /// and lets libvirt check a definition in some seconds.</summary>
    public const long DeadlineMs = 20_000;

    /// <summary>Time for a host that is not connected, milliseconds: it redials within 2 s.</summary>
    private const long ReconnectMs = 5_000;

    /// <summary>Bytes; Linux' PATH_MAX is 4096, and files inside need room.</summary>
    private const int DirectoryLengthMax = 1024;

    /// <summary>Of all directories of a module together: with the most modules they stay within half of a message to a host.</summary>
    private const int DirectoriesLengthMax = 2048;

    public static Problem? Check(string cluster, string module, ModuleSpec spec) =>
        GrainKey.Check("cluster", cluster)
        ?? GrainKey.Check("module", module)
        ?? GrainKey.Check("host", spec.InitialHost)
        ?? CheckDirectories(spec.Directories)
        ?? (spec.Vm is { } vm ? CheckVm(vm) : null);

    /// <summary>What the verdicts of both hosts amount to.</summary>
    public static CreationStep Next(HostVerdict first, HostVerdict second, long sinceMs)
    {
        foreach (var host in (ReadOnlySpan<HostVerdict>)[first, second])
            if (host.Preparation is { Accepted: false } refused)
                return new CreationStep.Refuse(refused.Problem ?? Problems.VerdictWithoutReason(host.Host));
        if (first.Preparation is { Accepted: true } && second.Preparation is { Accepted: true })
            return new CreationStep.Accept();
        var silent = first is { Connected: true, Preparation: not null } ? second : first;
        if (sinceMs < (silent.Connected ? DeadlineMs : ReconnectMs))
            return new CreationStep.Wait();
        return new CreationStep.Refuse(Problems.HostSilent(silent.Host, silent.Connected, DeadlineMs));
    }

    private static Problem? CheckDirectories(ImmutableArray<string> directories)
    {
        if (directories.Length > ModuleSpec.DirectoriesMax) return Problems.DirectoriesTooMany(directories.Length, ModuleSpec.DirectoriesMax);
        for (var i = 0; i < directories.Length; i++)
        {
            if (!IsPlainAbsolutePath(directories[i])) return Problems.DirectoryInvalid(directories[i]);
            for (var j = 0; j < i; j++)
                if (ClusterMembership.Overlap(directories[i], directories[j])) return Problems.DirectoriesOverlap(directories[i], directories[j]);
        }
        return directories.Sum(directory => directory.Length) > DirectoriesLengthMax ? Problems.DirectoriesTooLong(DirectoriesLengthMax) : null;
    }

    private static Problem? CheckVm(VmDefinition vm) =>
        !IsDomainName(vm.Domain) ? Problems.DomainInvalid(vm.Domain)
        : !IsPlainFileName(vm.DefinitionFile) ? Problems.DefinitionInvalid(vm.DefinitionFile)
        : null;

    private static bool IsPlainAbsolutePath(string path)
    {
        if (path is null || path.Length is < 2 or > DirectoryLengthMax || path[0] != '/') return false;
        foreach (var part in path[1..].Split('/'))
            if (part is "" or "." or ".." || part.Any(char.IsControl)) return false;
        return true;
    }

    private static bool IsPlainFileName(string name) =>
        name is not (null or "" or "." or "..") && name.Length <= 255 && !name.Contains('/') && !name.Any(char.IsControl);

    private static bool IsDomainName(string name) =>
        name is not (null or "") && name.Length <= 64 && char.IsAsciiLetterOrDigit(name[0])
        && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-');
}

/// <param name="Host">Grain key.</param>
/// <param name="Preparation">Null if it has not said anything about this module yet.</param>
public sealed record HostVerdict(string Host, bool Connected, PreparationReport? Preparation);

public abstract record CreationStep
{
    private CreationStep() { }

    public sealed record Wait : CreationStep;

    public sealed record Accept : CreationStep;

    public sealed record Refuse(Problem Problem) : CreationStep;
}
