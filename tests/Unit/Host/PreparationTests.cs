using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Modules;
using Pollux.HostProtocol;
using Pollux.Tests.Unit.Storage;

namespace Pollux.Tests.Unit.Hosts;

public sealed class PreparationTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("pollux-prepare-").FullName;
    private readonly FakeHypervisor _hypervisor = new();

    [StorageFact]
    public async Task The_initial_host_accepts_a_directory_with_a_valid_definition_and_leaves_it_as_it_was()
    {
        var directory = WithDefinition("<domain type='kvm'><name>vm1</name></domain>");
        Assert.Null(await CheckAsync(Source(directory)));
        Assert.Equal([Path.Combine(directory, "vm1.xml")], Directory.EnumerateFileSystemEntries(directory));
        Assert.DoesNotContain("define", _hypervisor.Calls);
    }

    [StorageFact]
    public async Task The_other_host_accepts_a_missing_directory_and_does_not_make_it()
    {
        var directory = Path.Combine(_root, "deep", "vm1");
        Assert.Null(await CheckAsync(Source(directory) with { HoldsData = false }));
        Assert.False(Directory.Exists(Path.Combine(_root, "deep")));
    }

    [Fact]
    public async Task A_missing_directory_is_refused_on_the_host_that_should_hold_the_data() =>
        Assert.Equal("module.directory-missing", await CheckAsync(Source(Path.Combine(_root, "nothing"))));

    [Fact]
    public async Task Files_on_the_other_host_are_never_overwritten()
    {
        var directory = WithDefinition("x");
        Assert.Equal("module.directory-not-empty", await CheckAsync(Source(directory) with { HoldsData = false }));
    }

    [Fact]
    public async Task A_file_system_without_room_is_refused_on_the_other_host() =>
        Assert.Equal("module.no-room", await CheckAsync(Source(Path.Combine(_root, "new")) with { HoldsData = false, ContentBytes = [long.MaxValue / 4] }));

    [Theory]
    [InlineData("/srv/vm1", "/srv/vm1")]
    [InlineData("/srv/vm1/inner", "/srv/vm1")]
    [InlineData("/srv", "/srv/vm1")]
    public async Task A_directory_that_touches_another_modules_is_refused(string directory, string other) =>
        Assert.Equal("module.directory-taken", await CheckAsync(Source(directory) with { Others = [other] }));

    [Theory]
    [InlineData("srv/vm1")]
    [InlineData("/srv/../vm1")]
    [InlineData("/srv/vm1/")]
    [InlineData("/")]
    public async Task A_path_that_is_not_plain_is_refused(string directory) =>
        Assert.Equal("module.directory-invalid", await CheckAsync(Source(directory)));

    [Fact]
    public async Task The_thirty_third_module_is_refused() =>
        Assert.Equal("module.limit", await CheckAsync(
            Source("/srv/vm33") with { Others = [.. Enumerable.Range(0, ModulePreparation.ModulesMaxDefault).Select(i => $"/srv/{i}")], OtherModules = ModulePreparation.ModulesMaxDefault }));

    [Theory]
    [InlineData("no xml", "vm.definition-invalid")]
    [InlineData("<network/>", "vm.definition-invalid")]
    [InlineData("<domain><name>other</name></domain>", "vm.definition-invalid")]
    [InlineData("<!DOCTYPE domain [<!ENTITY a 'b'>]><domain><name>vm1</name></domain>", "vm.definition-invalid")]
    public async Task A_definition_of_something_else_is_refused(string definition, string code) =>
        Assert.Equal(code, await CheckAsync(Source(WithDefinition(definition))));

    [Theory]
    [InlineData("<devices><disk type='file'><source file='DIR/a.qcow2'/><target dev='vda'/></disk></devices>", null)]
    [InlineData("<devices><disk type='network'><source protocol='rbd' name='p/i'/><target dev='vda'/></disk></devices>", null)]
    [InlineData("<devices><disk type='file' device='cdrom'><target dev='sda'/></disk></devices>", null)]
    [InlineData("<devices><disk type='file' device='cdrom'><source file='/srv/x.iso' startupPolicy='optional'/><target dev='sda'/></disk></devices>", null)]
    [InlineData("<devices><disk type='file' device='cdrom'><source file='/srv/x.iso'/><target dev='sda'/></disk></devices>", "disk sda: /srv/x.iso")]
    [InlineData("<devices><disk type='file'><source file='DIR/../a.qcow2'/><target dev='vda'/></disk></devices>", "disk vda: ")]
    [InlineData("<devices><disk type='file'><source file='DIR/link'/><target dev='vda'/></disk></devices>", "disk vda: ")]
    [InlineData("<devices><disk type='block'><source dev='/dev/sdb'/><target dev='vdb'/></disk></devices>", "disk vdb: /dev/sdb")]
    [InlineData("<devices><disk type='volume'><source pool='default' volume='a'/><target dev='vdb'/></disk></devices>", "disk vdb: default a")]
    [InlineData("<os><nvram template='/usr/share/OVMF/V.fd'>/var/lib/libvirt/qemu/nvram/vm1.fd</nvram></os>", "nvram: /var/lib/libvirt/qemu/nvram/vm1.fd")]
    [InlineData("<os><loader readonly='yes' type='pflash'>/usr/share/OVMF/C.fd</loader><nvram>DIR/vars.fd</nvram></os>", null)]
    public async Task A_vm_whose_storage_the_other_host_would_not_have_is_refused_by_name(string content, string? cause)
    {
        var directory = WithDefinition("");
        File.WriteAllText(Path.Combine(_root, "elsewhere"), "");
        File.CreateSymbolicLink(Path.Combine(directory, "link"), Path.Combine(_root, "elsewhere"));
        File.WriteAllText(Path.Combine(directory, "vm1.xml"), $"<domain><name>vm1</name>{content.Replace("DIR", directory, StringComparison.Ordinal)}</domain>");
        var verdict = await ModulePreparation.CheckAsync(Source(directory), _hypervisor, CancellationToken.None);
        Assert.Equal(cause is null ? null : "vm.storage-outside", verdict.Problem?.Code);
        Assert.Contains(cause ?? "", verdict.Problem?.Cause ?? "");
    }

    [Fact]
    public async Task A_definition_that_the_hypervisor_refuses_is_refused_with_its_words()
    {
        _hypervisor.Instead["validate"] = new HypervisorAnswer(CallOutcome.Refused, "unsupported machine type 'toaster'");
        var verdict = await ModulePreparation.CheckAsync(
            Source(WithDefinition("<domain><name>vm1</name></domain>")), _hypervisor, CancellationToken.None);
        Assert.Equal("vm.definition-refused", verdict.Problem?.Code);
        Assert.Contains("toaster", verdict.Problem!.Cause);
    }

    [Fact]
    public async Task A_missing_definition_a_running_vm_and_a_silent_hypervisor_are_refused()
    {
        var empty = Directory.CreateDirectory(Path.Combine(_root, "empty")).FullName;
        Assert.Equal("vm.definition-missing", await CheckAsync(Source(empty)));
        var directory = WithDefinition("<domain><name>vm1</name></domain>");
        _hypervisor.Set("vm1", DomainState.Running);
        Assert.Equal("vm.running", await CheckAsync(Source(directory)));
        Assert.Equal("vm.domain-taken", await CheckAsync(Source(Path.Combine(_root, "new")) with { HoldsData = false }));
        _hypervisor.Name = null;
        Assert.Equal("vm.no-hypervisor", await CheckAsync(Source(directory)));
    }

    [Fact]
    public void A_definition_without_a_uuid_gets_the_same_one_on_every_host()
    {
        const string Definition = "<domain><name>vm1</name></domain>";
        var first = DomainDefinition.Complete(Definition, "vm1", "c1/vm1");
        Assert.Equal(first, DomainDefinition.Complete(Definition, "vm1", "c1/vm1"));
        Assert.NotEqual(first, DomainDefinition.Complete(Definition, "vm1", "c1/vm2"));
        Assert.Contains("<uuid>", first);
        const string Own = "<domain><name>vm1</name><uuid>6f8a5c0e-0000-4000-8000-000000000001</uuid></domain>";
        Assert.Contains("6f8a5c0e-0000-4000-8000-000000000001", DomainDefinition.Complete(Own, "vm1", "c1/vm1"));
    }

    [Fact]
    public void The_content_of_a_directory_is_what_it_allocates()
    {
        var directory = Directory.CreateDirectory(Path.Combine(_root, "sized", "sub")).FullName;
        File.WriteAllBytes(Path.Combine(directory, "a"), new byte[1 << 20]);
        using (var sparse = File.Create(Path.Combine(_root, "sized", "hole")))
            sparse.SetLength(1L << 40);
        Assert.InRange(ModulePreparation.ContentBytes(Path.Combine(_root, "sized")), 1 << 20, 2 << 20);
    }

    [StorageFact]
    public async Task Each_of_several_directories_is_checked()
    {
        var (first, second) = (WithDefinition("<domain><name>vm1</name></domain>"), Directory.CreateDirectory(Path.Combine(_root, "data")).FullName);
        var both = Source(first) with { Directories = [first, second] };
        Assert.Null(await CheckAsync(both));
        Assert.Equal("module.directory-missing", await CheckAsync(both with { Directories = [first, second + "2"] }));
        Assert.Equal("module.directory-invalid", await CheckAsync(both with { Directories = [first, second + "/"] }));
        Assert.Equal("module.directory-taken", await CheckAsync(both with { Others = [_root + "/data/of-another"], OtherModules = 1 }));
        Assert.Equal("module.directories-max", await CheckAsync(both with { Directories = [.. Enumerable.Range(0, 9).Select(i => $"{_root}/{i}")] }));
        Assert.Equal("vm.definition-missing", await CheckAsync(both with { Directories = [second, first] }));

        var target = both with { HoldsData = false, Vm = null, Directories = [_root + "/new", second], ContentBytes = [0, 0] };
        Assert.Null(await CheckAsync(target));
        File.WriteAllText(Path.Combine(second, "file"), "");
        Assert.Equal("module.directory-not-empty", await CheckAsync(target));
    }

    [StorageFact]
    public async Task Directories_that_touch_each_other_are_refused_by_name_and_by_what_links_lead_to()
    {
        var directory = WithDefinition("<domain><name>vm1</name></domain>");
        var inner = Directory.CreateDirectory(Path.Combine(directory, "inner")).FullName;
        var link = Path.Combine(_root, "link");
        File.CreateSymbolicLink(link, directory);
        foreach (var other in (string[])[directory, inner, _root, link, Path.Combine(link, "inner"), Path.Combine(link, "not-yet")])
        {
            var code = await CheckAsync(Source(directory) with { Directories = [directory, other] });
            Assert.True(code is "module.directories-overlap" or "module.directory-missing", $"{other}: {code}");
            Assert.True(code == "module.directories-overlap" || !Directory.Exists(other), other);
        }
        // A link to a directory that another entry of the list leads into.
        Assert.Equal("module.directories-overlap", await CheckAsync(
            Source(directory) with { HoldsData = false, Vm = null, Directories = [_root + "/a", _root + "/a/b"], ContentBytes = [0, 0] }));
    }

    [StorageFact]
    public async Task Directories_on_one_file_system_share_its_room()
    {
        var free = new DriveInfo(_root).AvailableFreeSpace;
        var target = Source("") with { HoldsData = false, Vm = null, Directories = [_root + "/a", _root + "/b"] };
        Assert.Null(await CheckAsync(target with { ContentBytes = [free / 3, 0] }));
        Assert.Equal("module.no-room", await CheckAsync(target with { ContentBytes = [free * 6 / 10, free * 6 / 10] }));
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private static PreparationQuestion Source(string directory) =>
        new("c1/vm1", [directory], new VmSpec("vm1", "vm1.xml"), HoldsData: true, [0], [], 0, ModulePreparation.ModulesMaxDefault);

    private string WithDefinition(string definition)
    {
        var directory = Directory.CreateDirectory(Path.Combine(_root, "vm1")).FullName;
        File.WriteAllText(Path.Combine(directory, "vm1.xml"), definition);
        return directory;
    }

    private async Task<string?> CheckAsync(PreparationQuestion question)
    {
        var verdict = await ModulePreparation.CheckAsync(question, _hypervisor, CancellationToken.None);
        Assert.Equal(verdict.Problem is null, verdict.Accepted);
        return verdict.Problem?.Code;
    }
}
