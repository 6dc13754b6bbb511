namespace Pollux.Tests.Unit.Fuse;

/// <summary>A fact that compiles against the kernel's header; skipped where the machine has no C compiler or no header.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class HeaderFactAttribute : FactAttribute
{
    public const string Header = "/usr/include/linux/fuse.h";
    public const string Compiler = "/usr/bin/cc";

    public HeaderFactAttribute() =>
        Skip = File.Exists(Header) && File.Exists(Compiler) ? null : $"Needs {Compiler} and {Header}.";
}
